"""An edit of heads as data: what a page's address holds, what a live view asks for, and the line of Python that makes it.

    off_L2H8                switch the head off                        edit.head("L2H8").off()
    times_L2H8_x0.5         half of what it writes                     edit.head("L2H8").times(0.5)
    cut_L2H8_q7_k3          query 7 may not see key 3                  edit.head("L2H8").cut(query=7, key=3)
    weights_L2H8_q7_k3_x0.9 the weight of query 7 on key 3 is 0.9      edit.head("L2H8").weights(0.9, query=7, key=3)
    patch_L2H8              z of the other text of a comparison        edit.head("L2H8").patch(trace_b)

Several heads of a layer are L2H3H8, all of them L2; a stack stands at the end: off_L2H8_in_decoder. The page has its own copy in
base/head-edit.ts; tests/cases/head_edits.json holds the two together.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from attnscope.errors import InputError

VERBS = ("off", "times", "cut", "weights", "patch")
MOST = 64  # edits at once
_FORM = re.compile(
    r"(?P<verb>[a-z]+)_L(?P<layer>\d{1,9})(?P<heads>(?:H\d{1,9})*)(?:_q(?P<query>\d{1,9}))?(?:_k(?P<key>\d{1,9}))?"
    r"(?:_x(?P<number>-?\d{1,9}(?:\.\d{1,9})?))?(?:_in_(?P<stack>[\w.-]{1,80}))?",
    re.ASCII,
)
_TAKES = {"off": "", "times": "x", "cut": "qk", "weights": "qkx", "patch": ""}  # what a verb names beside its heads


@dataclass(frozen=True)
class HeadEdit:
    """One edit. `verb`: one of VERBS. `layer`, `heads`, `stack`: which heads; no heads: all of the layer. `query`, `key`: positions in the text
    (of cut and weights; a cut without a query is of every query). `number`: the factor of times, the weight of weights.

    Raises InputError for what no verb takes.
    """

    verb: str
    layer: int
    heads: tuple[int, ...] = ()
    query: int | None = None
    key: int | None = None
    number: float | None = None
    stack: str | None = None

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise InputError(f"expected an edit as one of {', '.join(VERBS)}; got {self.verb!r:.40}.")
        takes = _TAKES[self.verb]
        for name, letter in (("query", "q"), ("key", "k"), ("number", "x")):
            given, wanted = getattr(self, name) is not None, letter in takes
            if given != wanted and not (letter == "q" and self.verb == "cut"):
                such = f"such as {EXAMPLES[self.verb]}"
                if wanted:
                    raise InputError(f"the edit {self} needs a {name}, {such}.")
                raise InputError(f"the edit {self} takes no {name}: write it {such}.")
        if self.number is not None and not math.isfinite(self.number):
            raise InputError(f"the edit {self} has a number that is not finite.")
        if self.verb == "weights" and not 0 <= (self.number or 0) <= 1:
            raise InputError(f"the edit {self} has the weight {self.number:g}; a weight is from 0 to 1.")

    def __str__(self) -> str:
        """As an address holds it."""
        parts = [self.verb, f"L{self.layer}{''.join(f'H{head}' for head in self.heads)}"]
        parts += [f"{letter}{value}" for letter, value in (("q", self.query), ("k", self.key)) if value is not None]
        parts += [] if self.number is None else [f"x{_written(self.number)}"]
        return "_".join(parts + ([] if self.stack is None else [f"in_{self.stack}"]))

    @property
    def names(self) -> tuple[str, ...]:
        """The heads as people write them, such as ("L2H8",); empty where it is all of the layer."""
        return tuple(f"L{self.layer}H{head}" for head in self.heads)

    def code(self, patch: str = "trace") -> str:
        """The line of Python that makes it, on an `edit`. `patch`: what stands in the brackets of a patch."""
        stack = "" if self.stack is None else f', stack="{self.stack}"'
        names = ", ".join(f'"{name}"' for name in self.names)
        chosen = f"layers({self.layer}{stack})" if not names else f"head{'s' * (len(self.heads) > 1)}({names}{stack})"
        number = "" if self.number is None else _written(self.number)
        places = [f"{name}={value}" for name, value in (("query", self.query), ("key", self.key)) if value is not None]
        given = [number] * bool(number) + places + [patch] * (self.verb == "patch")
        return f"edit.{chosen}.{self.verb}({', '.join(given)})"


EXAMPLES = {
    "off": "off_L2H8",
    "times": "times_L2H8_x0.5",
    "cut": "cut_L2H8_q7_k3",
    "weights": "weights_L2H8_q7_k3_x0.9",
    "patch": "patch_L2H8",
}


def parse_edit(text: object) -> HeadEdit:
    """The edit that a text names. Raises InputError for one that names none."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise InputError(f"expected an edit such as {', '.join(EXAMPLES.values())}; got {text!r:.60}.")
    query, key = (None if found[name] is None else int(found[name]) for name in ("query", "key"))
    heads = tuple(dict.fromkeys(int(head) for head in found["heads"].split("H")[1:]))
    number = None if found["number"] is None else float(found["number"])
    return HeadEdit(found["verb"], int(found["layer"]), heads, query, key, number, found["stack"])


def parse_edits(given: Sequence[object]) -> tuple[HeadEdit, ...]:
    """Those of a list, each once, in its order. Raises InputError for one that is none, and for more than MOST."""
    edits = tuple(dict.fromkeys(parse_edit(one) for one in given))
    if len(edits) > MOST:
        raise InputError(f"expected at most {MOST} edits at once, got {len(edits)}.")
    return edits


def _written(number: float) -> str:
    """As an address holds it: at most six digits behind the point."""
    return format(Decimal(f"{number:.6f}").normalize() + 0, "f")
