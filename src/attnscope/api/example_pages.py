"""The pages of a survey's examples: each text in the instrument, where the pages of the heads open it on their own link."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnscope.api.showing import show_trace
from attnscope.api.tracing import trace
from attnscope.head_roles.batches import reader_of
from attnscope.head_roles.table import RoleTable
from attnscope.surveys.atlas import example_name, texts_of_examples
from attnscope.surveys.files import folder_at
from attnscope.text.format import count
from attnscope.text.status import status


def write_example_pages(
    folder: Path, model: nn.Module, tokenizer: Any, roles: RoleTable | None, most: int, quiet: bool
) -> None:
    """Pages of at most `most` texts into `folder`/examples, those first that most heads have as an example. Pages of an
    earlier call that are not among them are removed. Raises OutputError where a page cannot be written."""
    texts = texts_of_examples(folder, most)
    out = folder / "examples"
    wanted = {example_name(document): text for document, text in texts.items()}
    for path in out.glob("*.html"):
        if path.name not in wanted:
            path.unlink()
    if not wanted:
        return
    folder_at(out)
    reader = reader_of(model)
    with status(f"writing {count(len(wanted), 'page')} of examples …", quiet), torch.no_grad():
        for name, text in wanted.items():
            show_trace(trace(reader, tokenizer, text), roles=roles).save(out / name)
