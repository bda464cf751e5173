"""Kinds of code that the doctor met in batches written before it saw them: sound ones are compared, mistakes named, and nothing passes in silence."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attnscope
from three_heads import ThreeHeads

pytestmark = pytest.mark.usefixtures("short_search")


def named(code: object, **options: object) -> tuple[bool, list[str]]:
    """Whether anything was compared, and what was found."""
    diagnosis = attnscope.check(code, **options)  # type: ignore[arg-type]
    return diagnosis.compared, [found.name for found in diagnosis.findings]


class Heads(ThreeHeads):
    """Of 15 numbers; three heads of five."""

    def __init__(self) -> None:
        super().__init__(15)

    def joined(self, weights: Tensor, x: Tensor) -> Tensor:
        return self.o((weights @ self.cut(self.v(x))).transpose(1, 2).flatten(2))

    def scores(self, x: Tensor) -> Tensor:
        q, k = self.cut(self.q(x)), self.cut(self.k(x))
        return q @ k.mT / q.shape[-1] ** 0.5


class SinksInAWindow(Heads):
    def __init__(self, future: bool = False) -> None:
        super().__init__()
        self.sinks, self.future = nn.Parameter(torch.randn(3)), future

    def forward(self, x: Tensor) -> Tensor:
        i = torch.arange(x.shape[1])
        apart = i[:, None] - i
        scores = self.scores(x).masked_fill((apart < 0) | (apart > 2), -torch.inf)
        sinks = self.sinks.view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        return self.joined(torch.cat([scores, sinks], -1).softmax(-1)[..., :-1], x)


class ReadByLatents(Heads):
    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(4, 15))
        self.k, self.v, self.norm = nn.Linear(11, 15), nn.Linear(11, 15), nn.LayerNorm(11)

    def forward(self, inputs: Tensor) -> Tensor:
        q, x = self.latents.expand(len(inputs), -1, -1), self.norm(inputs)
        z = F.scaled_dot_product_attention(*(self.cut(y) for y in (self.q(q), self.k(x), self.v(x))))
        return q + self.o(z.transpose(1, 2).flatten(2))


def by_tokens(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(batch, heads, length, size) in, (batch, length, heads, size) out, as the attention functions of transformers have it."""
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def test_sound_kinds_are_compared_and_clean() -> None:
    for code in (SinksInAWindow(), ReadByLatents(), by_tokens):
        assert named(code) == (True, []), code


class NormedInName(Heads):
    """A scalar parameter, in a class that is called after its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(self.scores(x).softmax(-1), x)


def test_an_attention_that_is_called_after_its_norm_is_no_norm() -> None:
    assert named(NormedInName()) == (True, [])


class OneHeadForAll(nn.Module):
    def __init__(self, which: slice) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.which = which
        self.parts = nn.ModuleList([OneHead() for _ in range(3)])
        self.proj = nn.Linear(15, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(torch.cat([part(x) for part in [*self.parts[self.which], *self.parts][:1] * 3], -1))


class OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(7, 5, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


def test_a_head_that_stands_in_for_the_others_leaves_their_weights_without_effect() -> None:
    assert named(OneHeadForAll(slice(0, 1)))[1] == ["projection-unused"]


class Triangle(Heads):
    """A triangle is kept, and read or not."""

    def __init__(self, read: bool) -> None:
        super().__init__()
        self.read = read
        self.register_buffer("later", torch.ones(16, 16, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        later = self.later[: x.shape[1], : x.shape[1]] & self.read
        return self.joined(self.scores(x).masked_fill(later, -torch.inf).softmax(-1), x)


class CausalByName(Heads):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(self.scores(x).softmax(-1), x)


def band(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Non-causal: each token sees two to either side. (batch, length, size)"""
    near = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool).tril(2).triu(-2)
    return (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(~near, -torch.inf).softmax(-1) @ value


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (Triangle(True), []),
        (Triangle(False), ["triangle-without-effect"]),
        (CausalByName(True), ["not-causal-as-stated"]),
        (CausalByName(False), []),  # an attribute says that it may be either
        (band, []),
    ],
    ids=["read", "never read", "by its name", "a choice", "a band"],
)
def test_code_that_means_to_be_causal(code: object, found: list[str]) -> None:
    assert named(code) == (True, found)


def in_chunks(start_again: bool):
    def attention(query: Tensor, key: Tensor, value: Tensor, is_causal: bool = False, chunk_size: int = 64) -> Tensor:
        # (batch, heads, length, size)
        found = []
        for start in range(0, query.shape[2], chunk_size):
            scores = query[:, :, start : start + chunk_size] @ key.mT / query.shape[-1] ** 0.5
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(0 if start_again else start)
            scores = scores.masked_fill(~allowed, -torch.inf) if is_causal else scores
            found.append(scores.softmax(-1) @ value)
        return torch.cat(found, 2)

    return attention


def in_local_chunks(query: Tensor, key: Tensor, value: Tensor, chunk_size: int = 16) -> Tensor:
    # (batch, heads, length, size), each token sees its own chunk
    chunk = torch.arange(query.shape[2]) // chunk_size
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return scores.masked_fill(chunk[:, None] != chunk, -torch.inf).softmax(-1) @ value


def test_large_blocks_are_tried_small() -> None:
    assert named(in_chunks(True)) == (True, ["blocks-change-output"])
    assert named(in_chunks(False)) == (True, [])
    assert named(in_local_chunks) == (True, [])


def test_a_mask_that_hides_no_key_is_found() -> None:
    def one_head(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        # (batch, heads, length, size); mask: (batch, length), 1 for tokens
        scores = query @ key.mT / query.shape[-1] ** 0.5
        if mask is not None:
            scores[:, 0] = scores[:, 0].masked_fill(mask[:, None, :] == 0, -1e9)
        return scores.softmax(-1) @ value

    assert named(one_head) == (True, ["padding-leaks"])


def test_what_was_guessed_is_no_reason_to_accuse() -> None:
    def causal_attention(query: Tensor, key: Tensor, value: Tensor, gizmo: float) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value) * (1 + bool(gizmo))

    assert "weights-scaled" not in named(causal_attention)[1]
