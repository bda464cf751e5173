"""The known mistakes: each one recipe with one thing wrong. Its texts are in the registry of findings, under its name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from attnscope.doctor.code_check.recipe import Recipe


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong, as changed fields of a Recipe. `name` is the id of its entry in `doctor.findings`."""

    name: str
    change: dict[str, Any]
    needs: str = ""  # "", "normed", "causal", "heads", "split", "fused", "groups", "rotary", "turned", "batch", "mask"
    alone: bool = False  # whether it is looked for alone, and not with another: every pair costs

    def applies(self, recipe: Recipe, heads: int, kv_heads: int, flat: bool) -> bool:
        match self.needs:
            case "causal":
                return recipe.causal
            case "heads":
                return heads > 1
            case "split":
                return heads > 1 and flat
            case "fused":
                return flat and kv_heads == heads
            case "groups":
                return 1 < kv_heads < heads
            case "normed":
                return recipe.qk != "plain"
            case "normed heads":
                return recipe.qk != "plain" and heads > 1
            case "rotary":
                return recipe.rotary == "half"
            case "turned":
                return recipe.rotary in ("half", "adjacent")
            case "projected":
                return flat
            case "batch":
                return flat or heads == 1
            case "mask":
                return False
        return True


TURNED = (
    ("query", "key", "value"),
    ("query", "key", "value", "out"),
    ("out",),
    ("query",),
    ("key",),
    ("value",),
    ("query", "key"),
)
SOURCES = {  # which inputs queries, keys and values are made of, in words
    (1, 0, 0): "queries are made of the second input, and keys and values of the first",
    (0, 0, 0): "keys and values are made of the first input, as the queries are: the second plays no part",
    (0, 0, 2): "keys are made of the first input, as the queries are",
    (0, 1, 0): "values are made of the first input, as the queries are",
    (0, 2, 1): "keys are made of the values' input, and values of the keys'",
}
MISTAKES: tuple[Mistake, ...] = (
    Mistake("softmax-over-queries", {"softmax": "queries"}),
    Mistake("softmax-over-heads", {"softmax": "heads"}, "heads"),
    Mistake("softmax-over-batch", {"softmax": "batch"}),
    Mistake("softmax-over-all", {"softmax": "all"}),
    Mistake("softmax-over-all", {"softmax": "everything"}, alone=True),
    Mistake("softmax-over-queries", {"softmax": "sum over queries"}, alone=True),
    Mistake("softmax-over-all", {"softmax": "sum over all"}, alone=True),
    Mistake("scale-missing", {"scale": "one"}),
    Mistake("scale-multiplied", {"scale": "times"}),
    Mistake("scale-linear", {"scale": "linear"}),
    Mistake("scale-of-length", {"scale": "length"}),
    Mistake("scale-of-length", {"scale": "queries"}),
    Mistake("scale-of-model", {"scale": "model"}, "heads"),
    Mistake("causal-after-softmax", {"causal_how": "after"}, "causal"),
    Mistake("causal-multiplied", {"causal_how": "multiply"}, "causal"),
    Mistake("causal-filled-with-zero", {"causal_how": "zero"}, "causal"),
    Mistake("causal-inverted", {"polarity": "drop"}, "causal"),
    Mistake("causal-transposed", {"polarity": "transposed"}, "causal"),
    Mistake("causal-added-keep", {"causal_how": "add_keep"}, "causal"),
    Mistake("causal-added-drop", {"causal_how": "add_drop"}, "causal"),
    Mistake("causal-one-too-many", {"offset": 1}, "causal"),
    Mistake("causal-one-too-few", {"offset": -1}, "causal"),
    Mistake("causal-counts-prefix", {"prefix": "counted"}, "causal", alone=True),
    Mistake("split-without-transpose", {"split": "view"}, "split"),
    Mistake("fused-split-without-transpose", {"split": "fused_view"}, "fused"),
    Mistake("fused-split-without-transpose", {"split": "fused_first"}, "fused", alone=True),
    Mistake("merge-without-transpose", {"merge": "view"}, "heads"),
    Mistake("groups-tiled", {"groups": "tiled"}, "groups"),
    Mistake("groups-keys-tiled", {"groups": "keys_tiled"}, "groups"),
    Mistake("groups-values-tiled", {"groups": "values_tiled"}, "groups"),
    Mistake("rotary-angles-adjacent", {"rotary": "angles_adjacent"}, "rotary"),
    Mistake("rotary-angles-half", {"rotary": "angles_half"}, "rotary"),
    Mistake("rotary-on-queries-only", {"turns": ("query",)}, "turned"),
    Mistake("rotary-frequencies", {"power": 0.5}, "turned", alone=True),
    Mistake("rotary-frequencies", {"power": 2.0}, "turned", alone=True),
    Mistake("rotary-positions-apart", {"shift": 1}, "turned", alone=True),
    Mistake("rotary-positions-apart", {"shift": -1}, "turned", alone=True),
    Mistake("rotary-on-values", {"turns": ("query", "key", "value")}, "turned"),
    Mistake("rotary-on-values", {"turns": ("query", "value")}, "turned"),
    Mistake("rotary-on-values", {"turns": ("key", "value")}, "turned"),
    Mistake("rotary-signs", {"signs": "keys"}, "turned", alone=True),
    Mistake("rotary-signs", {"signs": "none"}, "turned", alone=True),
    Mistake("heads-attend-to-heads", {"split": "missing"}, "split", alone=True),
    Mistake("merge-without-transpose", {"merge": "turned"}, "split", alone=True),
    Mistake("merge-without-transpose", {"merge": "reversed"}, "split", alone=True),
    Mistake("merge-without-transpose", {"merge": "sizes first"}, "split", alone=True),
    Mistake("merge-order", {"merge": "sizes"}, "split", alone=True),
    Mistake("heads-taken-for-texts", {"merge": "folded"}, "split", alone=True),
    Mistake("heads-taken-for-texts", {"merge": "unfolded"}, "split", alone=True),
    Mistake("heads-averaged", {"merge": "mean"}, "split", alone=True),
    Mistake("batch-and-sequence-swapped", {"batch": "swapped"}, "batch"),
    Mistake("batch-and-sequence-reshaped", {"batch": "reshaped"}, "split"),
    Mistake("values-after-projection", {"projected": "values"}, "split"),
    Mistake("input-before-projection", {"projected": "with_input"}, "split", alone=True),
    Mistake("softmax-twice", {"softmax": "twice"}),
    Mistake("softmax-over-heads-and-keys", {"softmax": "heads_and_keys"}, "heads"),
    Mistake("log-softmax", {"softmax": "log"}),
    Mistake("sigmoid-for-softmax", {"softmax": "sigmoid"}),
    Mistake("softmax-unnormalised", {"softmax": "exp"}),
    Mistake("softmax-missing", {"softmax": "none"}),
    Mistake("softmax-missing", {"softmax": "shares"}, alone=True),
    Mistake("scale-after-softmax", {"scale": "after"}, alone=True),
    Mistake("rotary-before-heads", {"turned_at": "width"}, "rotary", alone=True),
    Mistake("softmax-of-the-output", {"softmax": "output"}, alone=True),
    Mistake("attention-transposed", {"weight_axes": "transposed"}, alone=True),
    Mistake("relu-before-softmax", {"before": "relu"}),
    Mistake("heads-averaged", {"weight_axes": "averaged"}, "heads", alone=True),
    Mistake("heads-averaged", {"before": "averaged"}, "heads", alone=True),
    Mistake("norm-over-tokens", {"qk_axis": "tokens"}, "normed", alone=True),
    Mistake("norm-over-heads", {"qk_axis": "heads"}, "normed heads", alone=True),
    Mistake("values-as-keys", {"keys": "values"}),
    Mistake("queries-as-keys", {"keys": "queries"}),
    Mistake("keys-as-queries", {"queries": "keys"}),
    Mistake("keys-as-values", {"values": "keys"}),
    Mistake("queries-as-values", {"values": "queries"}),
    Mistake("queries-and-keys-exchanged", {"queries": "keys", "keys": "queries"}, alone=True),
    Mistake("keys-reshaped", {"key_axes": "reshaped"}),
    Mistake("keys-reshaped", {"key_axes": "viewed"}, "split"),
    *(Mistake("wrong-source", {"sources": sources}, "projected") for sources in SOURCES),
    *(Mistake("weights-transposed", {"turned_weights": turned}, "projected") for turned in TURNED),
    # Mistakes with a mask that is passed in.
    Mistake("mask-after-softmax", {"mask_how": "after"}, "mask"),
    Mistake("mask-filled-after-softmax", {"mask_how": "after_fill"}, "mask"),
    Mistake("mask-added-keep", {"mask_how": "add_keep"}, "mask"),
    Mistake("mask-added-drop", {"mask_how": "add_drop"}, "mask"),
    Mistake("mask-multiplied", {"mask_how": "multiply"}, "mask"),
    Mistake("mask-filled-with-zero", {"mask_how": "zero"}, "mask"),
    Mistake("mask-filled-with-minus-one", {"mask_how": "minus_one"}, "mask"),
    Mistake("padding-masks-queries", {"mask_axis": "queries"}, "mask"),
    Mistake("mask-order-tiled", {"mask_order": "tiled"}, "mask"),
)

BY_NAME = {mistake.name: mistake for mistake in MISTAKES}


def changes(mistakes: Sequence[Mistake]) -> dict[str, Any]:
    """The fields of the recipe that all of them change."""
    return {name: value for mistake in mistakes for name, value in mistake.change.items()}


def with_mistakes(base: Recipe, heads: int, kv_heads: int, flat: bool, count: int) -> Iterator[tuple[Recipe, tuple]]:
    """Every recipe that makes `count` mistakes at once, with the mistakes; no field is changed twice."""
    known = [m for m in MISTAKES if m.applies(base, heads, kv_heads, flat) and (count == 1 or not m.alone)]
    for chosen in combinations(known, count):
        change = changes(chosen)
        if len(change) == sum(len(m.change) for m in chosen):
            yield base.but(**change), chosen
