"""The pages of a survey's examples: each text in the instrument, where the pages of the heads open it on their own link."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnscope.api.showing import show_trace
from attnscope.api.tracing import trace
from attnscope.head_roles.batches import reader_of
from attnscope.head_roles.table import RoleTable
from attnscope.surveys.atlas import example_name, shared_examples, texts_of
from attnscope.surveys.files import folder_at
from attnscope.surveys.media import Media, inputs_of
from attnscope.text.format import count
from attnscope.text.status import status
from attnscope.tracing.trace import Trace


def write_example_pages(
    folder: Path, model: nn.Module, tokenizer: Any, corpus: Any, roles: RoleTable | None, most: int, quiet: bool
) -> None:
    """Pages of at most `most` texts into `folder`/examples, those first that most heads have as an example. Pages of an
    earlier call that are not among them are removed. `corpus`: where the pictures or recordings are, if it is of these. Raises
    OutputError where a page cannot be written."""
    reader = reader_of(model)
    chosen = shared_examples(folder, most)
    traced: dict[str, Callable[[], Trace]] = {}
    if isinstance(corpus, Media):
        traced |= {name: partial(_of_medium, reader, tokenizer, one) for name, one in corpus.again(chosen).items()}
    else:
        traced |= {name: partial(trace, reader, tokenizer, text) for name, text in texts_of(folder, chosen).items()}
    out = folder / "examples"
    wanted = {example_name(document): make for document, make in traced.items()}
    for path in out.glob("*.html"):
        if path.name not in wanted:
            path.unlink()
    if not wanted:
        return
    folder_at(out)
    with status(f"writing {count(len(wanted), 'page')} of examples …", quiet), torch.no_grad():
        for name, make in wanted.items():
            show_trace(make(), roles=roles).save(out / name)


def _of_medium(reader: nn.Module, processor: Any, medium: Any) -> Trace:
    return trace(reader, processor, inputs=inputs_of(reader, processor, medium))
