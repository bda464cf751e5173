"""The instruments of docs/gallery: one of each kind of model, made while the site is built.

Each function here makes the instrument of one page, and the numbers that the page's text must say about it. A page holds the
activations of one text, and no weights.
"""

import contextlib
import functools
import logging
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import attnscope
from attnscope.errors import MissingDependency
from attnscope.text.example import QUESTION
from attnscope.text.format import percent as percent_exactly, percent_in_words as percent

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/helpers"))

import gallery_toy  # noqa: E402

import real_models  # noqa: E402

PAGES = ROOT / "docs/gallery"
MAX_MB = 2  # of the numbers in a page


class Absent(Exception):
    """The package with the weights is not installed; the message names it."""


@dataclass(frozen=True)
class Exhibit:
    """What a page shows. says: phrases that the page's text must hold."""

    view: attnscope.View
    says: tuple[str, ...]


def encoder() -> Exhibit:
    trace = attnscope.trace(*attnscope.load("demo"), "As the aircraft becomes lighter, it flies higher.")
    flies, higher = (_weight(trace, 2, 8, "it", key) for key in ("flies", "higher"))
    says = [f"{percent(flies)} of its weight to “flies”", f"{percent(higher)} to “higher”"]
    says += [f"{percent(_weight(trace, 5, 5, 'it', 'aircraft'))} of its weight to “aircraft”"]
    return _exhibit(trace, says, layer=2, head=8, query="it")


def chat() -> Exhibit:
    chat = [{"role": "user", "content": QUESTION}]
    trace = attnscope.trace(*attnscope.load("smollm2"), messages=chat, generate=20)
    tokens = trace.tokens
    paris = tokens.find("Paris")
    country = tokens.find("France")  # the first: that of the question
    chance = tokens.probability[paris] if tokens.probability else None
    assert chance is not None
    rows = [site.weights(queries=[paris - 1])[:, 0] for site in trace.sites]
    sinks = torch.cat(rows)[:, 0] > 0.25
    says = [f"a probability of {percent(chance)}", f"{percent_exactly(float(rows[23][4, country]))} of the weight"]
    says += [f"{int(sinks.sum())} of the {len(sinks)} heads"]
    return _exhibit(trace, says, layer=23, head=4, query=paris - 1)


def speech() -> Exhibit:
    model, _, tokenizer = real_models.speech()
    model.config._name_or_path = "whisper-tiny.en"
    trace = attnscope.trace(model, tokenizer, inputs={"input_features": real_models.sentence()}, generate=20)
    site = trace.site(2, stack="cross")
    strings = trace.query_tokens(site).shown
    # The row of a token writes the next one: the rows from <|notimestamps|> on write the words.
    first, last = strings.index("<|notimestamps|>"), strings.index("tree")
    rows = site.weights(5)[first:last]
    peaks = rows.argmax(-1)
    rising = 1 + int((peaks.diff() > 0).sum())
    keys = trace.key_tokens(site)
    within = keys.special.index(True)  # the silence behind the sound
    cat = keys.shown[int(peaks[strings.index("the") - first])]
    says = [f"{rising} words of the sentence", f"looks most at {cat}"]
    says += [f"first {within} of {rows.shape[-1]:,} positions"]
    says += [f"at least {int(100 * float(rows[:, :within].sum(-1).min()))} % of their weight"]
    # 1,500 keys: this holds every head of the layer
    return _exhibit(trace, says, level="matrix", stack="cross", layer=2, head=5, query="the", max_mb=3.2)


def image() -> Exhibit:
    model, processor = real_models.images()
    model.config._name_or_path = "dinov2-small"
    trace = attnscope.trace(model, processor, real_models.picture())
    row, column = (axis.flatten() * 14 + 7 for axis in torch.meshgrid(*[torch.arange(16)] * 2, indexing="ij"))
    disc = 1 + ((column - 63) ** 2 + (row - 63) ** 2 < 35**2).nonzero()[:, 0]  # 0 is CLS
    square = 1 + ((column > 126) & (column < 196) & (row > 140) & (row < 210)).nonzero()[:, 0]
    weights = trace.site(11).weights(1)
    says = [
        f"{len(part)} patches of the {name} spend {percent_exactly(float(weights[part][:, part].sum(-1).mean()))}"
        for name, part in (("disc", disc), ("square", square))
    ]
    return _exhibit(trace, says, layer=11, head=1, query="patch 4,4")


def seq2seq() -> Exhibit:
    model, tokenizer = gallery_toy.backwards()
    text = "the old dog follows a small bird today"
    trace = attnscope.trace(model, tokenizer, text, generate=12)
    words = text.split()
    assert trace.target is not None
    written = list(trace.target.shown[1:-1])  # between the start token and </s>
    assert written == words[::-1], f"the toy has not learnt to write backwards: {written}"
    last = len(words) - 1 - torch.arange(len(words))  # the key of the word that each row writes
    looked = trace.site(0, stack="cross").weights()[:, range(len(words)), last]
    head = int(looked.mean(-1).argmax())
    says = [f"{int((looked[head] > 0.5).sum())} of the {len(words)} words"]
    return _exhibit(trace, says, level="matrix", stack="cross", layer=0, head=head, query=1)


def chemistry() -> Exhibit:
    model, tokenizer = real_models.chemistry()
    model.config._name_or_path = "rxnmapper"
    reaction, was = next(iter(real_models.REACTIONS.items()))
    trace = attnscope.trace(model, tokenizer, reaction)
    weights = trace.site(10).weights()
    right = sum(int(weights[5, atom].argmax()) == key for atom, key in was.items())
    spent = weights[:, list(was), list(was.values())].mean(-1)
    others = torch.cat([spent[:5], spent[6:]]).max()
    says = [f"{right} of the {len(was)} atoms", f"On average it gives {percent(float(spent[5]))} of the weight"]
    says += [f"{math.ceil(100 * float(others))} % at most"]
    return _exhibit(trace, says, level="matrix", layer=10, head=5, query=26)


KINDS: dict[str, Callable[[], Exhibit]] = {f.__name__: f for f in (encoder, chat, speech, image, seq2seq, chemistry)}


@functools.cache
def build(kind: str) -> Exhibit:
    """The exhibit of a page. Raises Absent where the package with the weights is not installed."""
    with _quiet():
        try:
            return KINDS[kind]()
        except pytest.skip.Exception as error:  # what real_models says in a test
            raise Absent(str(error.msg).split(";")[0]) from error
        except MissingDependency as error:
            raise Absent(str(error).split(":")[0]) from error  # without the command that follows


def unsaid(text: str, exhibit: Exhibit) -> list[str]:
    """The phrases that the text of a page should hold, and does not. Line breaks count as spaces."""
    text = " ".join(text.split())
    return [phrase for phrase in exhibit.says if phrase not in text]


def _exhibit(trace: attnscope.Trace, says: list[str], **place: Any) -> Exhibit:
    return Exhibit(trace.show(static=True, **{"max_mb": MAX_MB, **place}), tuple(says))


def _weight(trace: attnscope.Trace, layer: int, head: int, query: str, key: str) -> float:
    return float(trace.site(layer).weights(head)[trace.tokens.find(query), trace.tokens.find(key)])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' warnings and progress bars, in what a reader of the build sees."""
    from transformers.utils import logging as of_transformers

    before = of_transformers.get_verbosity()
    of_transformers.set_verbosity(logging.ERROR)
    of_transformers.disable_progress_bar()
    try:
        yield
    finally:
        of_transformers.set_verbosity(before)
