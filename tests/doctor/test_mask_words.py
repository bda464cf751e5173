"""What the words of the source say of a mask: its polarity, with negations, and its axes; and code that does otherwise."""

import linecache
import math

import pytest
import torch
from torch import nn

import attnscope
from attnscope.doctor.code_check.checks.mask_words import stated_axes, stated_polarity

KEEP = (
    "mask: (batch, length), 1 for tokens, 0 for padding",
    "mask: (batch, length), 1 real, 0 padding",
    "mask is 1 at real tokens and 0 at pads",
    "mask: 1 for tokens that are **not masked**, 0 for masked tokens",
    "mask: 0 where padded",
    "mask: True where the key is not padding",
    "attention_mask: 1 for non-padding tokens",
    "mask: 1 = unmasked, 0 = masked",
    "mask: 0 for tokens that should be ignored",
    "mask: True for positions that are not to be ignored",
    "mask: 0 = do not attend",
    "mask: False values are masked out",
    "mask: True means that a token takes part in attention",
    "mask: True means the position takes part in attention",
    "mask: a value of 1 lets the key through",
    "mask: nonzero = visible",
    "mask: False entries get -inf",
    "mask: where it is False the score is set to -inf",
    "mask: True selects keys",
    "mask: keys whose mask is True remain",
    "mask: 1 is open, 0 is closed",
)
DROP = (
    "mask: True = padding",
    "mask: True means not allowed to attend",
    "mask: True where a key must not be seen",
    "mask: True for positions that should not be attended to",
    "mask: 1 = do not attend",
    "mask: True (1) where hidden",
    "mask: 1 if the position is not a token",
    "mask: False for real tokens",
    "mask: 1 where the token is invalid",
    "mask: True values are filled with -inf",
    "mask: 0 for tokens we keep, 1 for tokens we throw away",
    "mask: True where a query may not look",
    "mask: where True, the score becomes -inf",
    "mask: 1 discards a key",
    "mask: True prevents attention",
    "mask: boolean, True means the position does not take part in attention",
)
NOTHING = ("mask: (batch, length)", "mask: True = keep, and 1 is padding", "1 = keep", "mask: 0 = keep, -inf = drop")


@pytest.mark.parametrize(("lines", "said"), [(KEEP, "keep"), (DROP, "drop"), (NOTHING, None)])
def test_what_1_and_0_mean(lines, said):
    assert {line: stated_polarity(f"# {line}") for line in lines} == dict.fromkeys(lines, said)


def test_a_comment_beside_or_above_a_mask_speaks_of_it():
    beside = "if mask is not None:  # 1 = keep, 0 = ignore"
    above = "# 1 = keep, 0 = ignore\nscores = scores.masked_fill(mask == 0, -1e9)"
    assert (stated_polarity(beside), stated_polarity(above)) == ("keep", "keep")


def test_what_axes_a_mask_has():
    assert stated_axes("# mask: (batch, length), 1 for tokens", "mask") == "(batch, length)"
    assert stated_axes('"""q: (batch, length, size); keep (B, seq_len): bool"""', "keep") == "(B, seq_len)"
    assert stated_axes("# mask: (B, 1, 1, T)", "mask") is None
    assert stated_axes("# q: (batch, length)", "mask") is None
    assert stated_axes('"""Q: (n, d), K: (m, d), mask: (n, m)"""', "mask") is None  # n counts queries here
    assert stated_axes('"""x: (b, n, d); mask: (b, n)"""', "mask") == "(b, n)"
    assert stated_axes('"""x: (n, t, d); mask: (n, t)"""', "mask") == "(n, t)"


CODE = """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(20, 20) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (f(x).unflatten(-1, (4, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.mT / math.sqrt(5)
        if mask is not None:  # SAID
            scores = MASKED
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
"""
FILLED = "scores.masked_fill(mask{axes} == {drop}, torch.finfo(scores.dtype).min)"
AXES = "[:, None, None, :]"
SAYS = "mask: (batch, length), 1 for tokens that are not padding"
CASES = (
    (SAYS, FILLED.format(axes=AXES, drop=0), []),
    (SAYS, FILLED.format(axes=AXES, drop=1), ["mask-inverted"]),
    (SAYS, FILLED.format(axes="", drop=0), ["mask-without-axis"]),
    ("1 real, 0 padding", f"scores + mask{AXES}", ["mask-added"]),
    ("added to the scores: 0 or -inf, (batch, 1, 1, length)", "scores + mask", []),
)

# Code that hands its mask to torch's attention, which takes True and False, and adds floats.
HANDED = """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(20, 20) for _ in range(4))

    def forward(self, x, NAME):
        \"\"\"SAID\"\"\"
        q, k, v = (f(x).unflatten(-1, (4, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        handed = GIVEN
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=handed[:, None, None])
        return self.o(attended.transpose(1, 2).flatten(2))
"""
OF_NUMBERS = (
    ("pad_mask is a float tensor with ones at valid positions", "pad_mask", "pad_mask", ["mask-added-keep"]),
    ("drop_mask: zeros at valid positions, ones at padding", "drop_mask", "drop_mask == 0", []),
    ("mask: True (ones) at valid positions, or a float that is added", "mask", "mask", []),
    ("The mask is added: a float tensor, zeros at valid positions and -inf elsewhere", "mask", "mask", []),
)


@pytest.mark.parametrize(("said", "name", "given", "found"), OF_NUMBERS)
def test_words_that_speak_of_floats_are_tried(said, name, given, found):
    code = HANDED.replace("SAID", said).replace("NAME", name).replace("GIVEN", given)
    assert findings_of(code, f"<{said} {given}>") == found


@pytest.mark.parametrize(("said", "masked", "found"), CASES)
def test_words_are_held_against_the_code(said, masked, found):
    code = CODE.replace("SAID", said).replace("MASKED", masked)
    assert findings_of(code, f"<{said} {masked}>") == found


def findings_of(code, file):
    """The names of what is found in the class Attention of some code."""
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)
    space = {"math": math, "torch": torch, "nn": nn, "__name__": file}
    exec(compile(code, file, "exec"), space)
    return [one.name for one in attnscope.check(space["Attention"]()).findings]
