"""attnscope roles: what the heads of a model do, with the evidence."""

from pathlib import Path

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
@click.option(
    "--corpus",
    type=click.Path(),
    help="A file with one text a line. Of a model that sees: a folder of pictures. Of one that hears: a folder of .wav files, "
    "each beside a .txt with what is said in it.",
)
@click.option(
    "--links",
    type=click.Path(dir_okay=False),
    help="Relations of your own: JSON, on each line a text and its pairs of places.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--all", "every", is_flag=True, help="The rows of every head, best first on the choosing half.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write the report on one page to this file.")
@click.option("--examples", is_flag=True, help="With --html: a page for each example, which opens on its head.")
@click.option("--task", help="Task to load the model for, such as text-generation.  [default: the checkpoint's own]")
@quiet_option
def roles(
    model: str,
    treebank: tuple[str, ...],
    corpus: str | None,
    links: str | None,
    as_json: bool,
    every: bool,
    html: str | None,
    examples: bool,
    task: str | None,
    quiet: bool,
) -> None:
    """Say what each head does: relations of a treebank or of your own, places, special tokens, copies, induction; patches
    near by; the order of a sound.

    Heads are chosen on one half of the documents and reported on the other, beside the best fixed offset. Layers and heads
    count from 0.
    """
    loaded, tokenizer = load(model, quiet, task=task)
    with status("looking …", quiet):
        from attnscope.api.head_roles import role_table
        from attnscope.head_roles.files import corpus_of, links_of

        texts = None if corpus is None else corpus_of(Path(corpus), loaded, tokenizer)
        given = None if links is None else links_of(Path(links))
        table = role_table(loaded, tokenizer, texts, list(treebank) or None, every, given)
    if html is not None:
        click.echo(str(table.save(html, examples=examples)), err=as_json)
    if as_json:
        click.echo(table.to_json(every))
    elif html is None:
        from attnscope.cli.role_lines import print_roles

        print_roles(console(), table, every)
