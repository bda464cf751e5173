"""The verbs: what is done to the heads that were chosen."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from attnscope.editing.means import mean_of, vectors_of, weights_of
from attnscope.editing.positions import Position, parse_positions
from attnscope.editing.recompute import NEAR_ONE
from attnscope.editing.rules import Change, Cut, Put, Rule, Share, Times, Weights
from attnscope.editing.selection import Heads
from attnscope.errors import InputError
from attnscope.tracing.places import is_number
from attnscope.tracing.trace import Trace


@runtime_checkable
class Owner(Protocol):
    """The edit that heads were chosen in."""

    model: nn.Module
    tokenizer: Any

    def add(self, rule: Rule) -> Any: ...
    def paused(self) -> Any: ...


class ChosenHeads:
    """Heads of an edit, and what can be done to them: every method is one verb, and returns the edit.

    Made by `Edit.head`, `Edit.heads` and `Edit.layers`.
    """

    def __init__(self, owner: Owner, heads: Heads, positions: tuple[Position, ...] | None, name: str) -> None:
        self._owner, self._heads, self._positions, self._name = owner, heads, positions, name

    def __repr__(self) -> str:
        return f"{self._name} of {type(self._owner.model).__name__}: off, times, mean, patch, weights, cut"

    def off(self) -> Any:
        """z = 0, before W_O: the heads write nothing (zero ablation)."""
        return self._add(Times(0.0), "off()")

    def times(self, factor: Any) -> Any:
        """z · factor. `factor`: a number; 1 changes nothing, 0 is `off`. Raises InputError for what is no finite number."""
        number = float(factor) if isinstance(factor, (int, float)) or is_number(factor) else float("nan")
        if isinstance(factor, bool) or not abs(number) < float("inf"):
            raise InputError(f"expected a finite number to multiply what the heads write with, got {factor!r:.40}.")
        return self._add(Times(number), f"times({number:g})")

    def mean(self, over: Any, by: str = "all") -> Any:
        """The mean of z over other texts in the place of z (mean ablation). The texts are run now, without this edit.

        `over`: texts, mappings of inputs or traces, one or several. `by`: "all" takes one mean over all their tokens, special tokens among
            them; "position" one for each position, over the texts that reach it. Raises InputError where there is no text.
        """
        with self._owner.paused():
            means, reference = mean_of(self._owner.model, self._owner.tokenizer, over, by)
        return self._add(Put("z", means, reference, exact=False), f"mean(by={by!r})")

    def patch(
        self,
        z: Trace | None = None,
        *,
        q: Trace | None = None,
        k: Trace | None = None,
        v: Trace | None = None,
        weights: Trace | None = None,
        align: Any = None,
    ) -> Any:
        """What the same heads did in another text, in the place of what they do here (activation patching).

        `z`: a trace of the other text, for what the heads write. `q`, `k`, `v`, `weights`: a trace, for these links instead; under grouped
            queries k and v belong to a group, so all heads of it must be chosen. `align`: {position here: position there}; None: the same
            positions, and both texts have as many tokens.

        Raises InputError where no trace is given, for a trace of another model, and while the model runs where the text has another
        length.
        """
        given = {"z": z, "q": q, "k": k, "v": v, "weights": weights}
        given = {link: trace for link, trace in given.items() if trace is not None}
        if not given or not all(isinstance(trace, Trace) for trace in given.values()):
            raise InputError(
                "patch takes a trace of the other text: patch(trace) for what the heads write, or q=, k=, v= or weights= for another link."
            )
        if align is not None and not (
            isinstance(align, Mapping) and align and all(map(is_number, [*align, *align.values()]))
        ):
            raise InputError(f"expected align as {{position here: position there}}, got {align!r:.60}.")
        found = None
        for link, trace in given.items():
            reference = f"{link} of another text ({len(trace.tokens)} tokens)"
            if link == "weights":
                if align is not None:
                    raise InputError("align= says where vectors go; weights are of pairs. Patch q= and k= instead.")
                change: Change = Weights(weights_of(trace), reference)
            else:
                change = Put(link, vectors_of(trace, link), reference, align)
            found = self._add(change, f"patch({'trace' if link == 'z' else f'{link}=trace'})")
        return found

    def weights(self, matrix: Any, query: Any = None, key: Any = None) -> Any:
        """Other weights in the place of those that the softmax gave.

        `matrix`: "uniform" gives the same weight to every key that a query may see; or weights of your own, [Q, K] for the whole text,
            whose rows sum to 1, with 0 on keys that a query may not see. Queries that a generation adds keep their own. Or a number from 0 to 1, with
            `key`: so much weight of these queries goes to these keys together, and the others share the rest in the proportions that they have.
        `query`, `key`: as for `cut`.

        Raises InputError for anything else, and while the model runs where a query may not see the key, or has no other to give the rest to.
        """
        if isinstance(matrix, (int, float)) and not isinstance(matrix, bool):
            return self._share(float(matrix), query, key)
        if query is not None or key is not None:
            raise InputError(
                "query= and key= go with a number, such as weights(0.5, query=7, key=3); a matrix names its own."
            )
        if isinstance(matrix, str):
            if matrix != "uniform":
                raise InputError(
                    f'expected weights as "uniform", a matrix [queries, keys], or a number with query= and key=; got {matrix!r:.40}.'
                )
            return self._add(Weights(None, "the same weight on every key"), 'weights("uniform")')
        rows = _weights(matrix)
        return self._add(Weights(lambda place, head: rows, "weights of your own"), "weights(matrix)")

    def _share(self, weight: float, query: Any, key: Any) -> Any:
        if not 0 <= weight <= 1:
            raise InputError(f"expected a weight from 0 to 1, got {weight:g}.")
        self._check_pair(key, "weights(0.5, query=7, key=3)")
        change = Share(weight, parse_positions(query, "query"), parse_positions(key, "key") or ())
        return self._add(change, f"weights({weight:g}, {_pair(query, key)})")

    def _check_pair(self, key: Any, call: str) -> None:
        if self._positions is not None:
            raise InputError(f"{call} names its queries itself: leave positions= out, and give query=.")
        if key is None:
            raise InputError(f"{call} needs a key: a position, a token as written, a slice, or several of these.")

    def cut(self, query: Any = None, key: Any = None) -> Any:
        """Score −inf between these queries and keys, before the softmax (attention knockout, Geva et al. 2023): the other keys share
        their weight.

        `query`, `key`: a position, a token as written, a group or its name ("system": a name means the group where the text has one), a slice, or
            several of these; query=None: every query. Positions count in the text, with a
            cache too. Raises InputError without a key, and while the model runs where a query is left no key.
        """
        self._check_pair(key, "cut")
        change = Cut(parse_positions(query, "query"), parse_positions(key, "key"))
        return self._add(change, f"cut({_pair(query, key)})")

    def _add(self, change: Change, verb: str) -> Any:
        return self._owner.add(Rule(self._heads, change, f"{self._name}.{verb}", self._positions))


def _pair(query: Any, key: Any) -> str:
    """As it was written."""
    return ", ".join(f"{name}={one!r:.40}" for name, one in (("query", query), ("key", key)) if one is not None)


def _weights(matrix: Any) -> Tensor:
    try:
        rows = torch.as_tensor(matrix).detach().float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f'expected weights as "uniform", a matrix [queries, keys], or a number with query= and key=; got {type(matrix).__name__}.'
        ) from error
    if rows.ndim != 2:
        raise InputError(
            f'expected weights as "uniform", a matrix [queries, keys], or a number with query= and key=; got shape {list(rows.shape)}.'
        )
    sums = rows.sum(-1)
    wrong = (~((sums - 1).abs() <= NEAR_ONE) | (rows < 0).any(-1)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"row {row} of the weights sums to {float(sums[row]):.4g}, smallest {float(rows[row].min()):.4g}: weights are shares, from 0 on, and each row "
            "sums to 1. Divide each row by its sum."
        )
    return rows
