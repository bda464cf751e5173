"""The mask that the caller passes in: how it is applied, its polarity, its axis, the order of its rows."""

from attnscope.doctor.findings.causal_mask import CAUSAL, MASKED
from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION, INPLACE, MULTIHEAD, SDPA

APPLIED = "how the mask is applied"
FILL = "scores.masked_fill(~allowed, -inf)"
SHARE = "Masked keys keep a share of the weight."

CODE = """
def attention(query, key, value, mask=None):  # (batch, length, size); mask: True = keep
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1) @ value
"""
MASKING = "scores.masked_fill(~mask, torch.finfo(scores.dtype).min)"
AFTER = """
def attention(query, key, value, mask=None):  # (batch, length, size); mask: True = keep
    weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)
    if mask is not None:
        weights = weights * mask
    return weights @ value
"""

ENTRIES = (
    Entry(
        id="mask-after-softmax",
        severity="error",
        row=4,
        title="the mask is applied after the softmax",
        why="Masked keys have already taken their share: the remaining weights sum to less than 1.",
        cure="mask the scores with -inf, then take the softmax",
        invariant=MASKED,
        place="where the mask is applied",
        wrong=AFTER,
        right=CODE,
        reference=ATTENTION,
    ),
    Entry(
        id="mask-filled-after-softmax",
        severity="error",
        row=4,
        title="the mask's sentinel is written into the weights, after the softmax",
        why="The weights multiply the values: -1e9 there is a weight of minus a billion, and -inf gives NaN.",
        cure="mask the scores with -inf, then take the softmax",
        invariant=MASKED,
        place="where the mask is applied",
        wrong=AFTER.replace("weights * mask", "weights.masked_fill(~mask, -1e9)"),
        right=CODE,
        reference=ATTENTION,
    ),
    Entry(
        id="mask-added-keep",
        severity="error",
        row=10,
        title="a 0/1 mask (1: keep) is added to the scores as if it were 0/-inf",
        why="Adding 1 to what a query may see masks nothing: masked keys still get weight.",
        cure=f"{FILL}, or turn the mask into 0 and -inf first",
        invariant=MASKED,
        place=APPLIED,
        wrong=CODE.replace(MASKING, "scores + mask.bool()"),
        right=("scores + mask.bool()", MASKING),
        reference=SDPA,
    ),
    Entry(
        id="mask-added-drop",
        severity="error",
        row=10,
        title="a 0/1 mask (1: drop) is added to the scores as if it were 0/-inf",
        why="Adding 1 to what a query must not see masks nothing: it favours it.",
        cure="scores.masked_fill(dropped, -inf), or multiply the mask by a large negative number first",
        invariant=MASKED,
        place=APPLIED,
        wrong=CODE.replace(MASKING, "scores + mask.logical_not()"),
        right=("scores + mask.logical_not()", MASKING),
        reference=SDPA,
    ),
    Entry(
        id="mask-multiplied",
        severity="error",
        row=5,
        title="the mask multiplies the scores; a score of 0 still gets weight exp(0)",
        why="0 is an ordinary score, often a large one, so masked keys are seen.",
        cure=FILL,
        invariant=MASKED,
        place=APPLIED,
        wrong=CODE.replace(MASKING, "scores * mask"),
        right=("scores * mask", MASKING),
        reference=ATTENTION,
    ),
    Entry(
        id="mask-filled-with-zero",
        severity="error",
        row=5,
        title="masked scores are filled with 0 (or a tiny number such as 1e-9) instead of -inf",
        why="0 is an ordinary score, often a large one, so masked keys are seen.",
        cure=f"{FILL}; the 1e-9 was probably meant as -1e9",
        invariant=MASKED,
        place=APPLIED,
        wrong=CODE.replace("torch.finfo(scores.dtype).min", "1e-9"),
        right=("1e-9", "torch.finfo(scores.dtype).min"),
        reference=ATTENTION,
    ),
    Entry(
        id="mask-filled-with-minus-one",
        severity="error",
        row=6,
        title="masked scores are filled with -1, which ordinary scores reach",
        why=SHARE,
        cure=FILL,
        invariant=MASKED,
        place=APPLIED,
        wrong=CODE.replace("torch.finfo(scores.dtype).min", "-1.0"),
        right=("-1.0", "torch.finfo(scores.dtype).min"),
        reference=ATTENTION,
    ),
    Entry(
        id="mask-added",
        severity="error",
        row=10,
        what="the code's text says that True or 1 in the mask means keep (or drop), and the mask is added to the scores",
        title="its text says that True or 1 in {name!r} means {meaning}, and the mask is added to the scores as it is",
        why="Adding 1 masks nothing; only 0 and -inf (or a large negative number) can be added.",
        cure="scores.masked_fill(~mask, -inf), or say that the mask is additive",
        evidence="it agrees with the reference for masks of 0 and -inf ({convention})",
        invariant=CAUSAL,
        place=APPLIED,
        wrong=CODE.replace(MASKING, "scores + mask"),
        right=("scores + mask", MASKING),
        reference=SDPA,
    ),
    Entry(
        id="mask-of-one-text",
        severity="error",
        row=23,
        what="one text's mask is used for all texts of the batch",
        title="the {where} text's {name!r} is used for all texts of the batch",
        why="The others then see their padding, or lose words, as soon as texts of different lengths come together. A batch of one hides it.",
        cure="mask[:, None, None, :] of (batch, key), not mask[0]",
        invariant="each text is masked by its own mask",
        place="which mask is applied",
        wrong=CODE.replace(MASKING, "scores.masked_fill(~mask[0], torch.finfo(scores.dtype).min)"),
        right=("~mask[0]", "~mask"),
        reference=SDPA,
    ),
    Entry(
        id="mask-shifted",
        severity="error",
        row=12,
        what="the mask is applied a key too early or too late",
        title="{name!r} is applied one key {where} than it stands",
        why="One masked key is seen, and one that counts is not: a mask of the targets for the inputs, say, or of a text with one token more.",
        cure="the mask of the very tokens that the keys are made of",
        invariant="key j is masked by entry j",
        place="which mask is applied",
        wrong=CODE.replace(MASKING, "scores.masked_fill(~mask.roll(1, -1), torch.finfo(scores.dtype).min)"),
        right=("~mask.roll(1, -1)", "~mask"),
        reference=SDPA,
    ),
    Entry(
        id="mask-inverted",
        severity="error",
        row=9,
        what="the code uses the mask the other way round than its text says",
        title="its text says that True or 1 in {name!r} means {meaning}; the code uses it as {does}",
        why="In scaled_dot_product_attention True means keep, in nn.MultiheadAttention True means drop; masked_fill fills "
        "where True.",
        cure="invert the mask where it is applied, or correct the text",
        evidence="it agrees with the reference for {convention}",
        invariant=CAUSAL,
        place="the polarity of the mask",
        wrong=CODE.replace("~mask", "mask"),
        right=("masked_fill(mask", "masked_fill(~mask"),
        reference=MULTIHEAD,
    ),
    Entry(
        id="mask-without-axis",
        severity="error",
        row=12,
        what="the code's text says that the mask is (batch, length), and the code uses it without axes for heads and queries",
        title="its text says that {name!r} is {axes}; the code uses it without axes for heads and queries",
        why="Broadcasting lines up the last axes, so the mask is refused, or, where the batch is as long as the text, row i of the "
        "mask is used for query i of every text.",
        cure="mask[:, None, None, :] for scores of (batch, head, query, key), mask[:, None, :] for (batch, query, key)",
        evidence="a mask of {axes} is refused, and one of {form} works",
        invariant="each text of a batch gets its own mask",
        place="the axes of the mask",
        wrong=CODE.replace("mask: True = keep", "mask (batch, length): True = keep"),
        right=("~mask,", "~mask[:, None, :],"),
        reference=SDPA,
    ),
    Entry(
        id="mask-ignored",
        severity="error",
        what="the mask argument changes nothing",
        title="the argument {name!r} changes nothing",
        why="A mask that the code takes and does not use looks as if it worked.",
        cure="apply it to the scores before the softmax",
        evidence="{count} masks of different forms gave the output of none",
        invariant="a masked key has a weight of exactly 0",
        place="where the mask is applied",
        wrong=CODE.replace("scores = scores.masked_fill", "scores.masked_fill"),
        right=("        scores.masked_fill", "        scores = scores.masked_fill"),
        reference=ATTENTION,
    ),
    Entry(
        id="mutates-mask",
        severity="warning",
        what="the code changes the caller's mask in place",
        title="it changes the mask {name!r} in place",
        why="The next layer gets another mask.",
        cure="do not use in-place operations on arguments",
        invariant="inputs are the same after the call",
        place="operations that end in _",
        wrong=CODE.replace("~mask", "mask.logical_not_()"),
        right=("mask.logical_not_()", "mask.logical_not()"),
        reference=INPLACE,
    ),
    Entry(
        id="padding-masks-queries",
        severity="error",
        row=12,
        title="the padding mask removes query rows; it must remove key columns",
        why="Real tokens still see what is in the padding; only outputs at padding, which are not used, change.",
        cure="mask[:, None, None, :] for (batch, head, query, key)",
        invariant="what is in the padding changes nothing for real tokens",
        place="the axis of the padding mask",
        wrong=CODE.replace("mask: True = keep", "mask (batch, length): True = keep").replace(
            "~mask", "~mask[:, :, None]"
        ),
        right=("~mask[:, :, None]", "~mask[:, None, :]"),
        reference=SDPA,
    ),
    Entry(
        id="padding-leaks",
        severity="error",
        row=12,
        what="what is in masked keys changes the other outputs, however the mask is written",
        title="what is in masked keys changes the other outputs, however {name!r} is written",
        why="Padding then changes the result of every text that is shorter than its batch.",
        cure="mask the key axis of the scores with -inf before the softmax",
        evidence="outputs move by at least {least:.3g} in {count} ways of writing the mask",
        invariant="what is in the padding changes nothing for real tokens",
        place="where the mask is applied",
        wrong=CODE.replace("@ value", "@ value + value.mean(dim=-2, keepdim=True)"),
        right=(" + value.mean(dim=-2, keepdim=True)", ""),
        reference=ATTENTION,
    ),
    Entry(
        id="lengths-off",
        severity="error",
        what="of each text one key too many is kept, or one too few",
        title="argument {name!r}: a query sees {sees} of each text",
        why="A text of n tokens has the keys 0 to n - 1. One too many is padding; one too few is the text's last token.",
        cure="torch.arange(keys) < lengths[:, None]",
        evidence="with the number of keys shifted by one the reference agrees",
        invariant="a query sees all tokens of its text and no padding",
        place="where the lengths become a mask",
        wrong="""
def attention(query, key, value, lengths=None):  # (batch, length, size); lengths (batch,): how many tokens each text has
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if lengths is not None:
        keep = torch.arange(key.shape[1]) <= lengths[:, None]
        scores = scores.masked_fill(~keep[:, None], torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1) @ value
""",
        right=("<= lengths", "< lengths"),
        reference=MULTIHEAD,
    ),
    Entry(
        id="mask-order-tiled",
        severity="error",
        row=23,
        title="masks are tiled over batch × heads in another order than the heads",
        why="The heads of one text get other texts' masks as soon as a batch has two of them.",
        cure="mask.repeat_interleave(heads, dim=0), or mask[:, None] and broadcasting",
        invariant="each text of a batch gets its own mask",
        place="where the mask is repeated over heads",
        wrong="""
def attention(query, key, value, mask=None):  # (batch, heads, length, size); mask (batch, length): True = keep
    heads, length = query.shape[1:3]
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        every = mask[:, None].expand(-1, length, -1)  # (batch, query, key)
        every = every.repeat(heads, 1, 1).view(scores.shape)
        scores = scores.masked_fill(~every, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1) @ value
""",
        right=("every.repeat(heads, 1, 1)", "every.repeat_interleave(heads, dim=0)"),
        reference=MULTIHEAD,
    ),
)
