"""The known mistakes: each one recipe with one thing wrong, with its why and its cure.

`row` is the row of the project's table of attention bugs. `{axis}`, `{shape}` and `{sizes}` in a title are filled in with
the suspect's own layout, so that it speaks of the tensor its author sees.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from attnscope.doctor.code_check.match.recipe import Recipe


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong, as changed fields of a Recipe."""

    name: str
    row: int | None
    title: str
    why: str
    cure: str
    invariant: str  # what fails, without saying where: hint=1
    place: str  # hint=2
    change: dict[str, Any] = field(default_factory=dict)
    needs: str = ""  # "", "causal", "heads", "split", "fused", "groups", "rotary", "turned", "batch", "mask"

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
            case "rotary":
                return recipe.rotary == "half"
            case "turned":
                return recipe.rotary in ("half", "adjacent")
            case "batch":
                return flat or heads == 1
            case "mask":
                return False
        return True


_SUMS = "every query's weights sum to 1"
_SCALE = "for queries and keys of unit variance, scores have a standard deviation near 1"
CAUSE = "what a token sees does not change when a later token changes"
_PERM = "when tokens change places, outputs change places alike"
_MASK = "a masked key has a weight of exactly 0, and the weights of the others sum to 1"

MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        "softmax-over-queries", 1, "softmax runs over queries (dim={queries}); keys are dim=-1 of {shape}",
        "Each key's column then sums to 1 and a query's row does not, so a query's output is no average of values. It still trains, so a loss does not show it.",
        "softmax(scores, dim=-1)", _SUMS, "the softmax", {"softmax": "queries"},
    ),
    Mistake(
        "softmax-over-heads", 1, "softmax runs over heads (dim=1); keys are dim=-1 of {shape}",
        "Heads then compete for each pair of tokens, and a query's weights do not sum to 1.",
        "softmax(scores, dim=-1)", _SUMS, "the softmax", {"softmax": "heads"}, "heads",
    ),
    Mistake(
        "softmax-over-batch", 1, "softmax runs over the batch (dim=0); keys are dim=-1 of {shape}",
        "Texts of one batch then change each other's weights, and a query's weights do not sum to 1.",
        "softmax(scores, dim=-1)", _SUMS, "the softmax", {"softmax": "batch"},
    ),
    Mistake(
        "softmax-over-all", 1, "softmax runs over queries and keys together; only keys (dim=-1 of {shape}) should share 1",
        "The whole matrix then sums to 1 where each row should.",
        "softmax(scores, dim=-1)", _SUMS, "the softmax", {"softmax": "all"},
    ),
    Mistake(
        "scale-missing", 2, "scores are not divided by √d (the scale is 1)",
        "The spread of q · k grows with √d; unscaled, the softmax saturates on one key and its gradient dies.",
        "scores / math.sqrt(head_size). Right for T5 and GPT-Neo: pass scaling=1.0 to declare it", _SCALE, "the scale of the scores", {"scale": "one"},
    ),
    Mistake(
        "scale-multiplied", 2, "scores are multiplied by √d instead of divided by it",
        "The spread of the scores is d times too large; nearly every row picks one key.",
        "scores / math.sqrt(head_size), or scores * head_size ** -0.5", _SCALE, "the scale of the scores", {"scale": "times"},
    ),
    Mistake(
        "scale-linear", 2, "scores are divided by d instead of √d",
        "The scores are √d times too small, so the weights are nearly uniform (or the scale was applied twice: to q and to the scores).",
        "divide once, by math.sqrt(head_size)", _SCALE, "the scale of the scores", {"scale": "linear"},
    ),
    Mistake(
        "scale-of-length", 2, "scores are divided by √(number of keys) instead of √(head size)",
        "The sharpness of attention then changes with the length of the text.",
        "take the size of the last axis of q: q.shape[-1]", _SCALE, "the scale of the scores", {"scale": "length"},
    ),
    Mistake(
        "scale-of-model", 3, "scores are divided by √d_model; each head's q · k has only d_head = d_model / heads terms",
        "The scores are √heads times too small, so attention is flatter the more heads there are.",
        "divide by math.sqrt(head_size)", _SCALE, "the scale of the scores", {"scale": "model"}, "heads",
    ),
    Mistake(
        "causal-after-softmax", 4, "the causal mask is applied after the softmax",
        "Masked keys have already taken their share, so the weights that are left sum to less than 1 and still depend on later tokens.",
        "mask the scores with -inf, then take the softmax", _MASK, "where the causal mask is applied", {"causal_how": "after"}, "causal",
    ),
    Mistake(
        "causal-multiplied", 5, "the causal mask multiplies the scores; a score of 0 still gets weight exp(0)",
        "0 is an ordinary score, often a large one, so later tokens are seen.",
        "scores.masked_fill(~allowed, -inf)", _MASK, "how the causal mask is applied", {"causal_how": "multiply"}, "causal",
    ),
    Mistake(
        "causal-filled-with-zero", 5, "scores of later tokens are filled with 0 (or a tiny number) instead of -inf",
        "0 is an ordinary score, often a large one, so later tokens are seen.",
        "scores.masked_fill(~allowed, -inf)", _MASK, "how the causal mask is applied", {"causal_how": "zero"}, "causal",
    ),
    Mistake(
        "causal-inverted", 9, "the causal mask is read the wrong way round: a token sees only what comes after it",
        "In scaled_dot_product_attention True means keep, in nn.MultiheadAttention True means drop; masked_fill fills where True.",
        "invert the mask: torch.ones(T, T, dtype=torch.bool).tril() is True where a token may look", CAUSE, "the polarity of the causal mask", {"polarity": "drop"}, "causal",
    ),
    Mistake(
        "causal-transposed", 9, "the causal triangle is the upper one: a token sees itself and what comes after it",
        "Rows are queries and columns are keys, so the past of a token is left of the diagonal.",
        "use the lower triangle: torch.ones(T, T, dtype=torch.bool).tril()", CAUSE, "the causal triangle", {"polarity": "transposed"}, "causal",
    ),
    Mistake(
        "causal-added-keep", 10, "a 0/1 mask (1: keep) is added to the scores as if it were 0/-inf",
        "Adding 1 to what may be seen masks nothing: later tokens still get weight.",
        "pass a boolean mask, or turn it into 0 and -inf first", CAUSE, "how the causal mask is applied", {"causal_how": "add_keep"}, "causal",
    ),
    Mistake(
        "causal-added-drop", 10, "a 0/1 mask (1: drop) is added to the scores as if it were 0/-inf",
        "Adding 1 to what must not be seen masks nothing, it favours it.",
        "pass a boolean mask, or multiply it by -inf's stand-in first", CAUSE, "how the causal mask is applied", {"causal_how": "add_drop"}, "causal",
    ),
    Mistake(
        "causal-one-too-many", 11, "the causal triangle is off by one: each token sees the next one",
        "tril(diagonal=1) lets the answer through, so training loss falls and generation fails.",
        "tril(diagonal=0), or triu(diagonal=1) for what to drop", CAUSE, "the diagonal of the causal triangle", {"offset": 1}, "causal",
    ),
    Mistake(
        "causal-one-too-few", 11, "the causal triangle is off by one: a token does not see itself",
        "Row 0 then has no key at all (NaN, zeros or uniform), and every token misses its own value.",
        "tril(diagonal=0), or triu(diagonal=1) for what to drop", "row 0 attends to itself alone, with weight 1", "the diagonal of the causal triangle", {"offset": -1}, "causal",
    ),
    Mistake(
        "split-without-transpose", 13, "heads are split by view alone; (batch, length, width) needs view and then transpose(1, 2)",
        "view(batch, heads, length, size) cuts the text into pieces, one per head, instead of each token's vector.",
        "x.view(B, T, H, D).transpose(1, 2)", _PERM, "where heads are split", {"split": "view"}, "split",
    ),
    Mistake(
        "fused-split-without-transpose", 13, "the fused projection is reshaped to (batch, 3, heads, length, size) at once; its axes are (batch, length, 3, heads, size)",
        "reshape keeps the order in memory, so queries, keys and values are cut from pieces of the text.",
        "qkv.reshape(B, T, 3, H, D).permute(2, 0, 3, 1, 4)", _PERM, "where heads are split", {"split": "fused_view"}, "fused",
    ),
    Mistake(
        "merge-without-transpose", 14, "heads are merged without transposing back: (batch, heads, length, size) is reshaped as it is",
        "The rows of one head then stand where the heads of one token should.",
        "z.transpose(1, 2).reshape(B, T, H * D)", _PERM, "where heads are merged", {"merge": "view"}, "split",
    ),
    Mistake(
        "groups-tiled", 16, "key/value heads are tiled (repeat); neighbouring query heads share one (repeat_interleave)",
        "Query head h must use key/value head h // n. Trained weights put into this code give noise.",
        "k.repeat_interleave(n, dim=1)", "query heads of one group use the same key/value head", "where key/value heads are repeated", {"groups": "tiled"}, "groups",
    ),
    Mistake(
        "groups-keys-tiled", 16, "keys are tiled over the query heads and values are repeated one by one; both belong to neighbouring heads",
        "Query head h then scores the keys of one group and takes the values of another.",
        "repeat_interleave(n, dim=1) for both", "query heads of one group use the same key/value head", "where key/value heads are repeated", {"groups": "keys_tiled"}, "groups",
    ),
    Mistake(
        "groups-values-tiled", 16, "values are tiled over the query heads and keys are repeated one by one; both belong to neighbouring heads",
        "Query head h then scores the keys of one group and takes the values of another.",
        "repeat_interleave(n, dim=1) for both", "query heads of one group use the same key/value head", "where key/value heads are repeated", {"groups": "values_tiled"}, "groups",
    ),
    Mistake(
        "rotary-angles-adjacent", 17, "rotary: angles are laid out for adjacent pairs (2d, 2d+1), the rotation pairs halves (d, d + D/2)",
        "The two halves of a pair then turn by different angles, and scores no longer depend on the distance alone.",
        "use torch.cat([angles, angles], dim=-1) with rotation by halves, or repeat_interleave(2) with adjacent pairs", "a score depends on i - j alone", "the rotary embedding", {"rotary": "angles_adjacent"}, "rotary",
    ),
    Mistake(
        "rotary-angles-half", 17, "rotary: angles are laid out by halves (d, d + D/2), the rotation pairs neighbours (2d, 2d+1)",
        "The two members of a pair then turn by different angles, and scores no longer depend on the distance alone.",
        "use repeat_interleave(2) with adjacent pairs, or torch.cat([angles, angles], dim=-1) with rotation by halves", "a score depends on i - j alone", "the rotary embedding", {"rotary": "angles_half"}, "rotary",
    ),
    Mistake(
        "rotary-on-queries-only", 17, "rotary: queries are turned and keys are not",
        "Scores then depend on where the query stands, not on the distance.",
        "turn q and k alike", "a score depends on i - j alone", "the rotary embedding", {"turns": ("query",)}, "turned",
    ),
    Mistake(
        "rotary-on-values", 17, "rotary: values are turned as well as queries and keys",
        "Outputs then depend on where a token stands; only the scores are to know the distance.",
        "turn q and k, leave v as it is", "values enter the output as they are, each by its weight", "the rotary embedding", {"turns": ("query", "key", "value")}, "turned",
    ),
    Mistake(
        "batch-and-sequence-swapped", 22, "attention runs across the batch: the input is read as (length, batch, width)",
        "Texts of one batch see each other and a text's own tokens do not.",
        "batch_first=True, or transpose(0, 1) before and after", "a text's output does not change when another text of the batch changes", "the order of batch and sequence", {"batch": "swapped"}, "batch",
    ),
    Mistake(
        "batch-and-sequence-reshaped", 22, "batch and sequence are exchanged by reshape, which mixes texts; transpose(0, 1) exchanges them",
        "reshape keeps the order in memory, so tokens of different texts land in one sequence.",
        "x.transpose(0, 1)", "a text's output does not change when another text of the batch changes", "the order of batch and sequence", {"batch": "reshaped"}, "split",
    ),
    Mistake(
        "values-after-projection", 21, "the output projection is applied to the values, before they are cut into heads; each slice mixes all heads",
        "W_O adds every head into every dimension, so a slice of its result belongs to no head, and each head then weighs a mixture of all.",
        "weigh the values first, then project: out_proj(merged z); head h writes z[:, h] @ W_O[h]", "the sum over heads of what each writes, plus the bias, is the output", "where the output projection is applied", {"projected": "values"}, "split",
    ),
    # Mistakes with a mask that is passed in.
    Mistake(
        "mask-after-softmax", 4, "the mask is applied after the softmax",
        "Masked keys have already taken their share: the weights that are left sum to less than 1.",
        "mask the scores with -inf, then take the softmax", _MASK, "where the mask is applied", {"mask_how": "after"}, "mask",
    ),
    Mistake(
        "mask-filled-after-softmax", 4, "the mask's sentinel is written into the weights, after the softmax",
        "The weights are what multiplies the values: -1e9 there is a weight of minus a billion.",
        "mask the scores with -inf, then take the softmax", _MASK, "where the mask is applied", {"mask_how": "after_fill"}, "mask",
    ),
    Mistake(
        "mask-added-keep", 10, "a 0/1 mask (1: keep) is added to the scores as if it were 0/-inf",
        "Adding 1 to what may be seen masks nothing: masked keys still get weight.",
        "scores.masked_fill(~allowed, -inf), or turn it into 0 and -inf first", _MASK, "how the mask is applied", {"mask_how": "add_keep"}, "mask",
    ),
    Mistake(
        "mask-added-drop", 10, "a 0/1 mask (1: drop) is added to the scores as if it were 0/-inf",
        "Adding 1 to what must not be seen masks nothing, it favours it.",
        "scores.masked_fill(dropped, -inf), or multiply it by a large negative number first", _MASK, "how the mask is applied", {"mask_how": "add_drop"}, "mask",
    ),
    Mistake(
        "mask-multiplied", 5, "the mask multiplies the scores; a score of 0 still gets weight exp(0)",
        "0 is an ordinary score, often a large one, so masked keys are seen.",
        "scores.masked_fill(~allowed, -inf)", _MASK, "how the mask is applied", {"mask_how": "multiply"}, "mask",
    ),
    Mistake(
        "mask-filled-with-zero", 5, "masked scores are filled with 0 (or a tiny number such as 1e-9) instead of -inf",
        "0 is an ordinary score, often a large one, so masked keys are seen.",
        "scores.masked_fill(~allowed, -inf); the 1e-9 meant was -1e9", _MASK, "how the mask is applied", {"mask_how": "zero"}, "mask",
    ),
    Mistake(
        "mask-filled-with-minus-one", 6, "masked scores are filled with -1, which ordinary scores reach",
        "Masked keys keep a share of the weight.", "scores.masked_fill(~allowed, -inf)", _MASK, "how the mask is applied", {"mask_how": "minus_one"}, "mask",
    ),
    Mistake(
        "mask-filled-with-minus-ten", 6, "masked scores are filled with -10, which ordinary scores reach",
        "Masked keys keep a share of the weight.", "scores.masked_fill(~allowed, -inf)", _MASK, "how the mask is applied", {"mask_how": "minus_ten"}, "mask",
    ),
    Mistake(
        "padding-masks-queries", 12, "the padding mask removes query rows; it must remove key columns",
        "Real tokens still see what is in the padding; only the outputs nobody uses change.",
        "mask[:, None, None, :] for (batch, head, query, key)", "what is in the padding changes nothing for real tokens", "the axis of the padding mask", {"mask_axis": "queries"}, "mask",
    ),
    Mistake(
        "mask-order-tiled", 23, "masks are tiled over batch × heads in another order than the heads are laid out",
        "Text b's heads get other texts' masks as soon as a batch has two of them.",
        "mask.repeat_interleave(heads, dim=0), or mask[:, None] and broadcasting", "each text of a batch gets its own mask", "where the mask is repeated over heads", {"mask_order": "tiled"}, "mask",
    ),
)  # fmt: skip

BY_NAME = {mistake.name: mistake for mistake in MISTAKES}


def with_mistakes(base: Recipe, heads: int, kv_heads: int, flat: bool, count: int) -> Iterator[tuple[Recipe, tuple]]:
    """Every recipe that makes `count` mistakes at once, with the mistakes; no field is changed twice."""
    known = [m for m in MISTAKES if m.applies(base, heads, kv_heads, flat)]
    for chosen in combinations(known, count):
        change: dict[str, Any] = {}
        for mistake in chosen:
            change |= mistake.change
        if len(change) == sum(len(m.change) for m in chosen):
            yield base.but(**change), chosen
