"""Two texts aligned: which token of A belongs to which token of B, and both texts merged into one row of tokens."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

from attnscope.errors import InputError
from attnscope.tracing.tokens import Tokens

Places = tuple[tuple[int | None, int | None], ...]  # (position in A, position in B) of every token of either text


@dataclass(frozen=True)
class Alignment:
    """`pairs`: positions (in A, in B) of the tokens that belong together, in order; `substituted`: those of them whose
    tokens differ, one standing where the other stood; `only_a`, `only_b`: positions without a partner.

    Tokens are aligned by longest matching blocks (difflib.SequenceMatcher); a gap with as many tokens on either side is
    a substitution, token by token.
    """

    a: Tokens
    b: Tokens
    pairs: tuple[tuple[int, int], ...]

    @property
    def substituted(self) -> tuple[tuple[int, int], ...]:
        return tuple(pair for pair in self.pairs if self.a[pair[0]] != self.b[pair[1]])

    @property
    def only_a(self) -> tuple[int, ...]:
        paired = {i for i, _ in self.pairs}
        return tuple(i for i in range(len(self.a)) if i not in paired)

    @property
    def only_b(self) -> tuple[int, ...]:
        paired = {j for _, j in self.pairs}
        return tuple(j for j in range(len(self.b)) if j not in paired)

    @cached_property
    def places(self) -> Places:
        """Every token of either text once: (position in A, position in B), None where a text has no such token."""
        found: list[tuple[int | None, int | None]] = []
        i = j = 0
        for a, b in (*self.pairs, (len(self.a), len(self.b))):
            found += [(one, None) for one in range(i, a)] + [(None, one) for one in range(j, b)]
            if a < len(self.a):
                found.append((a, b))
            i, j = a + 1, b + 1
        return tuple(found)

    @cached_property
    def merged(self) -> Tokens:
        """The tokens of `places`: "cat → dog" where one stands for the other, "the (only A)" where there is no other."""
        names: dict[tuple, int] = {}
        strings, special, words, ids, segments, written, shown = [], [], [], [], [], [], []
        for i, j in self.places:
            own, at = (self.a, i) if i is not None else (self.b, j)
            assert at is not None
            text, kind = own.shown[at], "both" if i is not None and j is not None else "A" if j is None else "B"
            if kind == "both" and i is not None and j is not None and self.a[i] != self.b[j]:
                text, kind = f"{text} → {self.b.shown[j]}", f"both {i}"
            elif kind != "both":
                text = f"{text} (only {kind})"
            word = own.words[at]
            if word is not None:
                name = (kind, word) if kind == "both" else (kind, word, at)
                if name not in names:
                    names[name] = len(names)
                    written.append(own.word_text[word] if kind == "both" else text)
                word = names[name]
            strings.append(own[at] if kind == "both" else text)
            shown.append(text)
            words.append(word)
            special.append(own.special[at])
            ids.append(own.ids[at] if own.ids else 0)
            segments.append(own.segments[at])
        return Tokens(
            tuple(strings),
            tuple(ids),
            tuple(special),
            tuple(words),
            tuple(written),
            tuple(segments),
            shown=tuple(shown),
        )

    def __str__(self) -> str:
        """What belongs together and what has no partner, in one sentence."""
        if self.a.strings == self.b.strings:
            return f"A and B read the same {len(self.a)} tokens."
        shown = self.a.shown, self.b.shown
        equal = len(self.pairs) - len(self.substituted)
        parts = [f"{equal} of {len(self.a)} tokens of A and {len(self.b)} of B are the same"]
        if self.substituted:
            swaps = ", ".join(f"“{shown[0][i]}” → “{shown[1][j]}”" for i, j in self.substituted[:5])
            many = len(self.substituted)
            what = "1 stands for another" if many == 1 else f"{many} stand for others"
            parts.append(f"{what} ({swaps}{_more(self.substituted)})")
        for name, texts, alone in (("A", shown[0], self.only_a), ("B", shown[1], self.only_b)):
            if alone:
                listed = ", ".join(f"“{texts[i]}”" for i in alone[:5])
                parts.append(f"only in {name}: {listed}{_more(alone)}")
        return "; ".join(parts) + "."


def partner(places: Places, side: str, position: int, wanted: int) -> int | None:
    """Where a token of a side ("a", "b" or "difference") stands in A (0), in B (1) or in the merged row (2).

    places: Alignment.places. None where the token has no partner there.
    """
    if side != "difference":
        own = ("a", "b").index(side)
        position = next((n for n, place in enumerate(places) if place[own] == position), -1)
    if wanted == 2:
        return position if position >= 0 else None
    return places[position][wanted] if 0 <= position < len(places) else None


def _more(what: tuple) -> str:
    return f" and {len(what) - 5} more" if len(what) > 5 else ""


def align(a: Tokens, b: Tokens) -> Alignment:
    """The alignment of two texts. Raises InputError where they have no token in common."""
    pairs: list[tuple[int, int]] = []
    matcher = SequenceMatcher(None, a.strings, b.strings, autojunk=False)
    common = 0
    for what, a0, a1, b0, b1 in matcher.get_opcodes():
        if what == "equal" or (what == "replace" and a1 - a0 == b1 - b0):
            pairs += zip(range(a0, a1), range(b0, b1), strict=True)
        common += a1 - a0 if what == "equal" else 0
    if not common:
        raise InputError(
            f"the two texts have no token in common ({_start(a)} and {_start(b)}), so there is nothing to compare. "
            "Compare traces of the same text, or of two that share words and a tokenizer."
        )
    return Alignment(a, b, tuple(pairs))


def _start(tokens: Tokens) -> str:
    return f"“{' '.join(tokens.shown[:6])}{' …' if len(tokens) > 6 else ''}”"
