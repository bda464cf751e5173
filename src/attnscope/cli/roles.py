"""attnscope roles: what the heads of a model do, with the evidence."""

import click

from attnscope.cli.shared import console, load, quiet_option
from attnscope.text.status import status


@click.command()
@click.option("--model", default="demo", show_default=True, help="demo, smollm2, a hub name, or a folder.")
@click.option(
    "--treebank",
    multiple=True,
    type=click.Path(dir_okay=False),
    help="A CoNLL-U file, for every relation in both directions; may be given several times.",
)
@click.option("--corpus", type=click.Path(dir_okay=False), help="A file with one text a line.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--all", "every", is_flag=True, help="The rows of every head, best first on the choosing half.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write the report on one page to this file.")
@click.option("--task", help="Task to load the model for, such as text-generation.  [default: the checkpoint's own]")
@quiet_option
def roles(
    model: str,
    treebank: tuple[str, ...],
    corpus: str | None,
    as_json: bool,
    every: bool,
    html: str | None,
    task: str | None,
    quiet: bool,
) -> None:
    """Say what each head does: relations of a treebank, places, special tokens, copies, induction.

    Heads are chosen on one half of the documents and reported on the other, beside the best fixed offset. Layers and heads
    count from 0.
    """
    texts = None if corpus is None else _lines(corpus)
    loaded, tokenizer = load(model, quiet, task=task)
    with status("looking …", quiet):
        from attnscope.api.head_roles import role_table

        table = role_table(loaded, tokenizer, texts, list(treebank) or None, every)
    if html is not None:
        click.echo(str(table.save(html)), err=as_json)
    if as_json:
        click.echo(table.to_json(every))
    elif html is None:
        from attnscope.cli.role_lines import print_roles

        print_roles(console(), table, every)


def _lines(path: str) -> list[str]:
    from pathlib import Path

    from attnscope.errors import UnreadableFile

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"the corpus {path} cannot be read as text in UTF-8: {error}.") from error
    return [line for line in text.splitlines() if line.strip()]
