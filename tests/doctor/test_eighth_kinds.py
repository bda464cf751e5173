"""Kinds of code that the doctor met in two batches written before it saw them: caches of a module's own, sums and norms around the attention, masks of other
keys, a bias that is scrambled or comes too late, one query, Luong's attention; each with sound neighbours."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attnscope
from attnscope.doctor.code_check.match import search
from three_heads import ThreeHeads

pytestmark = pytest.mark.usefixtures("short_search")


def named(code: object, **options: object) -> tuple[bool, list[str]]:
    """Whether anything was compared, and what was found."""
    diagnosis = attnscope.check(code, **options)  # type: ignore[arg-type]
    return diagnosis.compared, [found.name for found in diagnosis.findings if found.severity == "error"]


LONG = dict(search.PATIENCE)


@pytest.fixture
def patient(short_search: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search as it is: where several ways of calling come first, or a design is measured."""
    monkeypatch.setattr(search, "PATIENCE", LONG)


class Heads(ThreeHeads):
    """Of 18 numbers; three heads of six."""

    def __init__(self) -> None:
        super().__init__(18)

    def of(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.cut(self.q(x)), self.cut(self.k(x)), self.cut(self.v(x))

    def joined(self, z: Tensor) -> Tensor:
        return self.o(z.transpose(1, 2).flatten(2))


# --- a cache of the module's own, unasked -------------------------------------------------------------------------


class Cached(Heads):
    """how: right | upper left | prefill | swapped."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def attend(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = self.of(x)
        if past is not None:
            first, second = (k, past[0]) if self.how == "swapped" else (past[0], k)
            k, v = torch.cat([first, second], 2), torch.cat([past[1], v], 2)
        queries, keys = q.shape[2], k.shape[2]
        if self.how in ("upper left", "prefill"):
            z = F.scaled_dot_product_attention(q, k, v, is_causal=self.how == "upper left" or queries > 1)
        else:
            allowed = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
            z = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.joined(z), (k, v)


class OnePast(Cached):
    def forward(
        self, x: Tensor, layer_past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.attend(x, layer_past)


class TwoPasts(Cached):
    def forward(
        self, x: Tensor, past_key: Tensor | None = None, past_value: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        past = None if past_key is None or past_value is None else (past_key, past_value)
        y, (k, v) = self.attend(x, past)
        return y, k, v


class BlockWithCache(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.attn, self.norm = OnePast(how), nn.LayerNorm(18)

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, kept = self.attn(self.norm(x), cache)
        return x + y, kept


@pytest.mark.parametrize("kind", [OnePast, TwoPasts, BlockWithCache])
@pytest.mark.parametrize("how", ["right", "prefill"])
def test_a_cache_that_works_is_tried_without_being_asked(kind: type[nn.Module], how: str) -> None:
    diagnosis = attnscope.check(kind(how))
    assert diagnosis
    assert diagnosis.conventions["cached"].startswith("the same as uncached")
    assert ("one token at a time" in diagnosis.conventions["cached"]) == (how == "prefill")


@pytest.mark.parametrize("kind", [OnePast, TwoPasts])
def test_a_triangle_at_the_upper_left_is_named_without_being_asked(kind: type[nn.Module]) -> None:
    assert named(kind("upper left")) == (True, ["causal-upper-left"])
    assert named(kind("swapped")) == (True, ["cached-differs"])


def test_a_cache_of_which_the_last_keys_alone_are_kept_is_left_alone() -> None:
    class Rolling(OnePast):
        def forward(
            self, x: Tensor, layer_past: tuple[Tensor, Tensor] | None = None
        ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            y, (k, v) = self.attend(x, layer_past)
            return y, (k[:, :, -2:], v[:, :, -2:])

    diagnosis = attnscope.check(Rolling("right"))
    assert diagnosis
    assert "cached" not in diagnosis.conventions


class Turned(Heads):
    def __init__(self, restart: bool) -> None:
        super().__init__()
        self.restart = restart

    def turn(self, x: Tensor, first: int) -> Tensor:
        angle = torch.arange(first, first + x.shape[2])[:, None] * 1e4 ** (-torch.arange(3) / 3)
        cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def forward(self, x: Tensor, past_kv: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = self.of(x)
        first = 0 if past_kv is None or self.restart else past_kv[0].shape[2]
        q, k = self.turn(q, first), self.turn(k, first)
        if past_kv is not None:
            k, v = torch.cat([past_kv[0], k], 2), torch.cat([past_kv[1], v], 2)
        allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        return self.joined(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)), (k, v)


def test_positions_that_begin_again_with_a_cache_are_named() -> None:
    assert named(Turned(restart=True)) == (True, ["cached-positions"])
    assert named(Turned(restart=True), cached=True) == (True, ["cached-positions"])
    assert named(Turned(restart=False)) == (True, [])


# --- sums and norms around the attention --------------------------------------------------------------------------


class Plain(Heads):
    def forward(self, x: Tensor) -> Tensor:
        return self.joined(F.scaled_dot_product_attention(*self.of(x)))


class Adding(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Around(nn.Module):
    """inner: the attention; before, after: norms; outer: whether the block adds its input."""

    def __init__(self, inner: nn.Module, before: nn.Module, after: nn.Module, times: float = 1.0) -> None:
        super().__init__()
        self.attn, self.before, self.after, self.times = inner, before, after, times

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.times * x + self.attn(self.before(x)))


@pytest.mark.parametrize(("before", "after"), [(nn.Identity(), nn.LayerNorm(18)), (nn.LayerNorm(18), nn.Identity())])
def test_an_input_that_is_added_twice_is_named(before: nn.Module, after: nn.Module) -> None:
    assert named(Around(Adding(), before, after)) == (True, ["residual-twice"])
    assert named(Around(Plain(), before, after)) == (True, [])
    assert named(Around(Plain(), before, after, times=2.0)) == (True, [])  # a share that it has as a number of its own


class ByHand(nn.Module):
    """A norm over these axes of (batch, length, width)."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = x.mean(self.axes, keepdim=True), x.var(self.axes, keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-6) ** 0.5


@pytest.mark.parametrize(("axes", "wrong"), [((1,), True), ((1, 2), True), ((2,), False)])
@pytest.mark.parametrize("first", [True, False])
def test_a_norm_over_the_tokens_is_named(axes: tuple[int, ...], wrong: bool, first: bool) -> None:
    norms = (ByHand(*axes), nn.Identity()) if first else (nn.Identity(), ByHand(*axes))
    assert named(Around(Plain(), *norms)) == (True, ["norm-of-all-tokens"] * wrong)


def test_a_norm_over_tokens_that_is_called_so_is_left_alone() -> None:
    class Instance(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.InstanceNorm1d(18, affine=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x.mT).mT

    assert named(Around(Plain(), Instance(), nn.Identity())) == (True, [])


class Squeezed(nn.Module):
    """Each feature times a number of its text: a gate, and no norm."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(18, 18)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean(1, keepdim=True)).sigmoid()


def test_a_gate_of_each_text_is_no_norm() -> None:
    assert "norm-of-all-tokens" not in named(Around(Plain(), Squeezed(), nn.Identity()))[1]


# --- masks --------------------------------------------------------------------------------------------------------


class Masked(Heads):
    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        q, k, v = self.of(x)
        scores = q @ k.mT / 6**0.5
        if attention_mask is not None:
            seen = attention_mask.bool()
            seen = seen[:1] if self.how == "one text" else seen
            seen = seen.roll(1, -1) if self.how == "shifted" else seen
            scores = scores.masked_fill(~seen[:, None, None], torch.finfo(scores.dtype).min)
        return self.joined(scores.softmax(-1) @ v)


def test_a_mask_of_one_text_and_a_mask_that_is_shifted_are_named() -> None:
    assert named(Masked("one text")) == (True, ["mask-of-one-text"])
    assert named(Masked("shifted")) == (True, ["mask-shifted"])
    assert named(Masked()) == (True, [])


class Across(Heads):
    def __init__(self, late: bool = False) -> None:
        super().__init__()
        self.late = late

    def forward(self, x: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        q, k, v = self.cut(self.q(x)), self.cut(self.k(context)), self.cut(self.v(context))
        scores, hidden = q @ k.mT / 6**0.5, ~context_mask.bool()[:, None, None]
        if self.late:
            return self.joined(scores.softmax(-1).masked_fill(hidden, 0) @ v)
        return self.joined(scores.masked_fill(hidden, -1e9).softmax(-1) @ v)


def test_the_mask_of_the_context_is_examined() -> None:
    diagnosis = attnscope.check(Across())
    assert diagnosis
    assert diagnosis.conventions["context_mask"] == "(batch, key), boolean, True = keep"
    assert named(Across(late=True)) == (True, ["mask-after-softmax"])


class OfEncoders(Heads):
    """Self-attention that takes a mask of keys from elsewhere, and no such keys."""

    def forward(self, hidden_states: Tensor, encoder_attention_mask: Tensor | None = None) -> Tensor:
        return self.joined(F.scaled_dot_product_attention(*self.of(hidden_states)))


def test_a_mask_of_keys_that_do_not_come_is_not_missed() -> None:
    assert named(OfEncoders()) == (True, [])


class Tutorial(Heads):
    """A mask that it must have, True = masked; a sum and a norm behind."""

    def __init__(self, merged: bool = True) -> None:
        super().__init__()
        self.norm, self.merged = nn.LayerNorm(18), merged

    def forward(self, Q: Tensor, K: Tensor, V: Tensor, attn_mask: Tensor) -> Tensor:
        q, k, v = self.cut(self.q(Q)), self.cut(self.k(K)), self.cut(self.v(V))
        scores = (q @ k.mT / 6**0.5).masked_fill(attn_mask.unsqueeze(1), -1e9)
        z = scores.softmax(-1) @ v
        z = z.transpose(1, 2).flatten(2) if self.merged else z.reshape(len(z), -1, 18)
        return self.norm(Q + self.o(z))


@pytest.mark.usefixtures("patient")
def test_a_block_that_must_have_a_mask_is_compared_under_the_mask_that_permits() -> None:
    assert named(Tutorial()) == (True, [])
    assert named(Tutorial(merged=False)) == (True, ["merge-without-transpose"])


class MultiHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(18, 18) for _ in range(4)])

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (3, -1)).transpose(1, 2) for f, x in zip(self.linears, (q, k, v), strict=False))
        scores = (q @ k.mT / 6**0.5).masked_fill(mask.unsqueeze(1) == 0, -1e9)
        return self.linears[3]((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.self_attn, self.src_attn = MultiHeads(), MultiHeads()

    def forward(self, x: Tensor, memory: Tensor, src_mask: Tensor, tgt_mask: Tensor) -> Tensor:
        x = x + self.self_attn(x, x, x, tgt_mask)
        return x + self.src_attn(x, memory, memory, src_mask)


@pytest.mark.usefixtures("patient")
def test_a_layer_that_must_have_two_masks_is_examined_by_its_parts() -> None:
    assert named(Decoder()) == (True, [])


# --- a bias of its own --------------------------------------------------------------------------------------------


class Table(Heads):
    def __init__(self, viewed: bool) -> None:
        super().__init__()
        self.table, self.viewed = nn.Parameter(torch.randn(63, 3)), viewed

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.of(x)
        i = torch.arange(x.shape[1])
        bias = self.table[i - i[:, None] + 31]
        bias = bias.reshape(3, len(i), len(i)) if self.viewed else bias.permute(2, 0, 1)
        return self.joined((q @ k.mT / 6**0.5 + bias).softmax(-1) @ v)


@pytest.mark.usefixtures("patient")
def test_a_bias_that_is_viewed_where_its_axes_should_be_permuted_is_named() -> None:
    assert named(Table(viewed=True)) == (True, ["position-bias-scrambled"])
    assert named(Table(viewed=False)) == (True, [])


class Late(Heads):
    """added: what is added to the weights, from the places."""

    def __init__(self, added: str) -> None:
        super().__init__()
        self.added = added

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.of(x)
        n = x.shape[1]
        i = torch.arange(n)
        bias = {
            "distance": -0.3 * (i[:, None] - i).abs(),
            "itself": torch.eye(n),
            "shaped": torch.eye(n) - torch.full((n, n), 1 / n),
        }[self.added]
        return self.joined(((q @ k.mT / 6**0.5).softmax(-1) + bias) @ v)


def test_a_bias_behind_the_softmax_is_named_and_a_share_of_the_own_value_is_not() -> None:
    assert named(Late("distance")) == (True, ["bias-after-softmax"])
    for added in ("itself", "shaped"):
        assert "bias-after-softmax" not in named(Late(added))[1]


def test_a_bias_behind_the_softmax_of_a_function_is_named() -> None:
    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        i = torch.arange(query.shape[-2])
        bias = 1 / (1 + (i[:, None] - i).abs())
        return ((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) + bias) @ value

    assert named(attention) == (True, ["bias-after-softmax"])


# --- how code is called -------------------------------------------------------------------------------------------


def decode_step(q: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
    """q (batch, heads, 1, d): the newest token."""
    p = ((q * k_cache).sum(-1) / q.shape[-1] ** 0.5).softmax(-1)
    return (p.unsqueeze(-1) * v_cache).sum(2, keepdim=True)


def decode_step_unscaled(q: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
    """q (batch, heads, 1, d): the newest token."""
    p = (q * k_cache).sum(-1).softmax(-1)
    return (p.unsqueeze(-1) * v_cache).sum(2, keepdim=True)


def test_a_function_of_one_query_is_called_with_one() -> None:
    assert named(decode_step) == (True, [])
    assert named(decode_step_unscaled) == (True, ["scale-missing"])


class Luong(nn.Module):
    def __init__(self, axis: int = -1, beside: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.attn, self.concat, self.axis = nn.Linear(18, 18, bias=False), nn.Linear(36, 18) if beside else None, axis

    def forward(self, decoder_hidden: Tensor, encoder_outputs: Tensor) -> Tensor:
        weights = (decoder_hidden @ self.attn(encoder_outputs).mT).softmax(self.axis)
        context = weights @ encoder_outputs
        return context if self.concat is None else self.concat(torch.cat([context, decoder_hidden], -1)).tanh()


class LuongStep(Heads):
    def __init__(self) -> None:
        super().__init__()
        self.attn = self.q
        del self.q, self.k, self.v, self.o, self.heads

    def forward(self, hidden: Tensor, encoder_outputs: Tensor) -> Tensor:
        weights = (self.attn(encoder_outputs) @ hidden.unsqueeze(-1)).softmax(1)
        return (weights * encoder_outputs).sum(1)


def test_luongs_attention_is_compared() -> None:
    for sound in (Luong(), Luong(beside=True), LuongStep()):
        assert named(sound) == (True, [])
    assert named(Luong(axis=1)) == (True, ["softmax-over-queries"])


class LengthFirst(Heads):
    def forward(self, x: Tensor) -> Tensor:
        T, B, C = x.shape
        q, k, v = (f(x).view(T, B * 3, C // 3).transpose(0, 1) for f in (self.q, self.k, self.v))
        z = (q @ k.mT / 6**0.5).softmax(-1) @ v
        return self.o(z.transpose(0, 1).reshape(T, B, C))


def test_axes_that_are_unpacked_with_the_length_first_are_believed() -> None:
    assert named(LengthFirst()) == (True, [])


class Capped(Heads):
    def __init__(self) -> None:
        super().__init__()
        self.softcap, self.gate = 5.0, nn.Linear(18, 18)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.of(x)
        scores = self.softcap * (q @ k.mT / 6**0.5 / self.softcap).tanh()
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2) * self.gate(x).sigmoid())


def test_a_cap_that_is_called_one_is_taken_as_it_is() -> None:
    diagnosis = attnscope.check(Capped())
    assert diagnosis
    assert diagnosis.conventions["soft cap"] == "5, a number of its own called softcap"


class Config:
    hidden_size, num_attention_heads, head_dim = 18, 3, 6


def test_heads_are_read_from_a_configuration_that_is_a_class() -> None:
    class Configured(Heads):
        def __init__(self, config: Config) -> None:
            super().__init__()
            del self.heads
            self.config = config

        def cut(self, x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.config.num_attention_heads, -1)).transpose(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.joined(F.scaled_dot_product_attention(*self.of(x)))

    assert named(Configured(Config())) == (True, [])


def test_outputs_that_are_never_finite_are_no_fault_of_the_doctor() -> None:
    class Spoiled(Heads):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            q, k, v = self.of(x)
            bias = (1 - mask.float())[:, None, None] * -torch.inf
            return self.joined((q @ k.mT / 6**0.5 + bias).softmax(-1) @ v)

    assert named(Spoiled())[1] == ["kept-nan"]
