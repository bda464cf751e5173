"""attnscope coverage: which architectures of transformers are captured, and how well."""

from pathlib import Path

import click

from attnscope.cli.shared import quiet_option
from attnscope.errors import InputError
from attnscope.text.status import status


@click.command()
@click.option(
    "--model-type",
    "types",
    multiple=True,
    help="A model type of transformers, such as llama; may be given several times.  [default: all, some minutes]",
)
@click.option("--popular", is_flag=True, help="The types that the tests check.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="Write the page to this file; of some types, into the page there.  [default: print the rows]",
)
@quiet_option
def coverage(types: tuple[str, ...], popular: bool, out: str | None, quiet: bool) -> None:
    """Build architectures small, run each under a capture, and say what was seen.

    A row holds the label (exact, mixed, weights only, nothing, not attention), what changes the scores, the worst error,
    and what bypassed the capture.
    """
    with status("starting …", quiet):
        import torch
        import transformers

        from attnscope.coverage.examine import examine
        from attnscope.coverage.table import line, page
        from attnscope.coverage.types import POPULAR, all_types
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # small models gain nothing by more
    wanted = [*types, *(POPULAR if popular else ())] or all_types()
    if unknown := [name for name in wanted if name not in transformers.CONFIG_MAPPING]:
        raise InputError(f"--model-type: transformers {transformers.__version__} has no type {', '.join(unknown)}.")
    rows = []
    for number, name in enumerate(wanted, 1):
        with status(f"{name} ({number} of {len(wanted)}) …", quiet):
            rows.append(examine(name))
        if out is None:
            click.echo(line(rows[-1]))
    if out is not None:
        file = Path(out)
        before = file.read_text(encoding="utf-8") if (types or popular) and file.is_file() else ""
        if before and f"transformers {transformers.__version__} " not in before:
            raise InputError(
                f"--out: {out} is a page of another transformers than {transformers.__version__}: write all its rows anew."
            )
        file.write_text(page(rows, transformers.__version__, before), encoding="utf-8")
        click.echo(out)
