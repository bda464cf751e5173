"""The second net: who needs it, what it sees, and that nothing of it is left behind."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

import attnscope
import parts
import tiny_models as tiny
from attnscope import CaptureError, InputError, NotCaptured
from attnscope.capturing.listen.facts import facts_of
from closeness import close

T, M, H, D = 7, 15, 3, 5


class Asking(nn.Module):
    """3 heads of size 5 through torch's scaled_dot_product_attention; `how` is passed on."""

    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.qkv, self.o, self.how = nn.Linear(M, 3 * M), nn.Linear(M, M), how

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.unflatten(-1, (H, D)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))

    def forward(self, x: Tensor) -> Tensor:
        z = F.scaled_dot_product_attention(*self.split(x), **self.how)
        return self.o(z.transpose(1, 2).flatten(2))


class Soft(Asking):
    """The same by hand, in one of the ways in which people write it."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        scores = q @ k.transpose(-1, -2) / D**0.5
        match self.how["way"]:
            case "F":
                z = F.softmax(scores, dim=-1, dtype=torch.float64).to(x.dtype) @ v
            case "torch":
                z = torch.matmul(F.dropout(torch.softmax(scores, 3), 0.5, self.training), v)
            case "method":
                z = torch.einsum("bhqk,bhkd->bhqd", scores.softmax(dim=-1), v)
            case "module":
                z = torch.bmm(nn.Softmax(dim=-1)(scores).flatten(0, 1), v.flatten(0, 1)).unflatten(0, (-1, H))
            case "unknown":  # a function that is not followed: the softmax is of scores in another order
                order = torch.arange(scores.shape[-1]).flip(0)
                z = torch.softmax(scores.index_select(-1, order), -1) @ v.index_select(-2, order)
            case "joined":  # batch and heads are one axis
                self.num_heads = H
                z = torch.bmm(torch.softmax(scores.flatten(0, 1), -1), v.flatten(0, 1)).unflatten(0, (-1, H))
        return self.o(z.transpose(1, 2).flatten(2))


class Pieces(Asking):
    """Softmaxes of two sizes in one run: nothing tells how they belong together."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        near = (q @ k[:, :, :2].transpose(-1, -2)).softmax(-1) @ v[:, :, :2]
        far = (q @ k[:, :, 2:].transpose(-1, -2)).softmax(-1) @ v[:, :, 2:]
        return self.o((near + far).transpose(1, 2).flatten(2))


class PiecesAttention(Pieces):
    pass


class Gate(nn.Module):
    """A softmax that is no attention: it meets no values."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.softmax(-1)


class Beside(Asking):
    """The weights once more, beside the real call, to be looked at."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        z = F.scaled_dot_product_attention(q, k, v)
        self.looked = (q @ k.transpose(-1, -2) / D**0.5).softmax(-1) @ v
        return self.o(z.transpose(1, 2).flatten(2))


def net(*layers: nn.Module) -> nn.Module:
    return parts.Layers(*layers).eval()


def x(batch: int = 1, tokens: int = T) -> Tensor:
    return torch.randn(batch, tokens, M, generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def _no_mode_is_left():
    yield
    assert _get_current_function_mode_stack() == []


def modes_during(model: nn.Module, run: Any) -> int:
    """The largest number of function modes while `model` runs."""
    seen: list[int] = []
    handle = model.register_forward_pre_hook(lambda *_: seen.append(len(_get_current_function_mode_stack())))
    try:
        run()
    finally:
        handle.remove()
    return max(seen)


# --- who needs it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tiny.KINDS)
def test_models_of_the_interface_never_enter_it(name: str) -> None:
    model = tiny.model(name)
    assert not facts_of(model).calls_torch
    if name in ("bert", "gpt2"):
        assert modes_during(model, lambda: attnscope.trace(model, None, inputs=tiny.inputs(name))) == 0


def helper(q: Tensor) -> Tensor:
    return deeper(q)


def deeper(q: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, q, q)


class Helped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return helper(x)


class Held(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = F.scaled_dot_product_attention

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x, x, x)


@pytest.mark.parametrize(
    "module", [Asking(), Soft(way="F"), Soft(way="module"), Helped(), Held(), nn.MultiheadAttention(M, H)]
)
def test_who_needs_it(module: nn.Module) -> None:
    assert facts_of(nn.Sequential(nn.Linear(M, M), module)).calls_torch


def test_who_does_not_need_it() -> None:
    assert not facts_of(nn.Sequential(nn.Linear(M, M), parts.Attention(), parts.MyAttention())).calls_torch


def test_code_is_followed_into_helpers() -> None:
    for module in (Helped(), Held()):
        trace = attnscope.trace(nn.Sequential(module), None, inputs={"input": x()})
        assert trace.verify().passed
        assert trace.sites[0].path == "0"


# --- what it sees -----------------------------------------------------------------------------------------------------


def test_sites_of_a_plain_module() -> None:
    model = net(Asking(), nn.Linear(M, M), Asking(is_causal=True))
    trace = attnscope.trace(model, None, inputs={"x": x()})
    assert [(site.path, site.layer, site.kind) for site in trace.sites] == [
        ("layers.0", 0, "self"),
        ("layers.2", 2, "self"),
    ]
    assert trace.verify().passed
    assert trace.verify(full=True, model=model).passed
    assert trace.sites[1].mask.describe() == "causal"
    assert list(trace.tokens) == [str(i) for i in range(T)]
    assert trace.model.implementation == "F.scaled_dot_product_attention"
    assert any("4 ulp" in note for note in trace.notes)
    first = model.layers[0]  # type: ignore[index]
    assert trace.sites[0].projection is not None
    assert trace.sites[0].projection.parameter is first.o.weight
    assert close(trace.sites[0].write().sum(0) + first.o.bias, first(x())[0])


@pytest.mark.parametrize("way", ["F", "torch", "method", "module", "joined"])
def test_a_softmax_by_hand_is_followed_back_to_q_and_k(way: str) -> None:
    model = net(Soft(way=way), Soft(way=way))
    trace = attnscope.trace(model, None, inputs={"x": x()})
    q, k, v = model.layers[0].split(x())  # type: ignore[index]
    assert len(trace.sites) == 2
    site = trace.sites[0]
    assert (site.verify().status, site.scaling) == ("exact", pytest.approx(D**-0.5))
    for kept, own in ((site.q, q), (site.k, k), (site.v, v)):
        assert torch.equal(kept, own[0])
    assert close(site.weights(), F.softmax(q @ k.transpose(-1, -2) / D**0.5, -1)[0])
    assert site.projection is not None
    assert site.projection.parameter is model.layers[0].o.weight  # type: ignore[index, union-attr]
    assert trace.model.implementation == "softmax"


def test_a_softmax_that_cannot_be_followed_gives_weights_only() -> None:
    model = net(Soft(way="unknown"), Soft(way="unknown"))
    trace = attnscope.trace(model, None, inputs={"x": x()})
    q, k, _ = model.layers[0].split(x())  # type: ignore[index]
    site = trace.sites[0]
    assert site.weights_only
    assert close(site.weights(), F.softmax(q @ k.transpose(-1, -2) / D**0.5, -1)[0].flip(-1))
    assert site.verify().status == "weights_only"
    assert not trace.verify().passed
    assert any(note.startswith("Weights only (layer 0, layer 1)") for note in trace.notes)
    with pytest.raises(NotCaptured):
        site.output(head=1)


class Gated(Asking):
    """Weights that are changed between the softmax and the values."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        weights = (q @ k.mT / D**0.5).softmax(-1) * torch.tensor([1.0, 0.0, 0.5])[:, None, None]
        return self.o((weights @ v).transpose(1, 2).flatten(2))


def test_weights_that_are_changed_after_the_softmax_are_not_taken_for_a_whole_site() -> None:
    trace = attnscope.trace(net(Gated()), None, inputs={"x": x()})
    assert [site.verify().status for site in trace.sites] == ["weights_only"]


def test_weights_only_and_whole_sites_in_one_trace(tmp_path: Any) -> None:
    trace = attnscope.trace(net(Soft(way="unknown"), Asking(), parts.Attention()), None, inputs={"x": x()})
    assert [site.verify().status for site in trace.sites] == ["weights_only", "exact", "exact"]
    trace.save(tmp_path / "t.safetensors")
    again = attnscope.load_trace(tmp_path / "t.safetensors")
    assert [site.weights_only for site in again.sites] == [True, False, False]
    for layer in range(3):
        assert torch.equal(again.sites[layer].weights(), trace.sites[layer].weights())
        trace.show(layer=layer).save(tmp_path / "t.html")


def test_the_interface_comes_first() -> None:
    """Within an attention function of the interface, torch's own call is the same one."""
    model = net(parts.Attention(), Asking())
    trace = attnscope.trace(model, None, inputs={"x": x()})
    assert [(site.path, site.verify().status) for site in trace.sites] == [("layers.0", "exact"), ("layers.1", "exact")]
    assert trace.model.implementation == "F.scaled_dot_product_attention, eager"


def test_weights_computed_beside_are_not_recorded_twice() -> None:
    trace = attnscope.trace(net(Beside()), None, inputs={"x": x()})
    assert [site.weights_only for site in trace.sites] == [False]


def test_pieces_are_left_out_and_named() -> None:
    trace = attnscope.trace(net(Asking(), PiecesAttention()), None, inputs={"x": x()})
    assert [site.path for site in trace.sites] == ["layers.0"]
    assert trace.unrecorded == ("layers.1",)
    with pytest.raises(CaptureError, match=r"Modules that look like attention: layers\.0"):
        attnscope.trace(net(PiecesAttention()), None, inputs={"x": x()})


def test_a_stream_beside_the_one_that_is_shown_is_named() -> None:
    """A softmax over more axes beside one that can be followed, and whose keys it does not have."""

    class TwoStreamsAttention(Asking):
        def forward(self, x):
            streams = torch.stack([x, 2 * x], 1)  # [B, 2, T, M]
            scores = torch.einsum("bsqm,bskm->bsqk", streams, streams)[:, :, None]
            more = torch.einsum("bshqk,bskm->bsqm", scores.softmax(-1), streams)
            return super().forward(x) + more.mean(1)

    trace = attnscope.trace(net(Asking(), TwoStreamsAttention()), None, inputs={"x": x()})
    assert [site.path for site in trace.sites] == ["layers.0", "layers.1"]
    (note,) = [note for note in trace.notes if "More attention ran" in note]
    assert "layers.1" in note
    assert "layers.0" not in note


def test_a_softmax_without_values_is_no_attention() -> None:
    trace = attnscope.trace(net(Gate(), Asking(), Gate()), None, inputs={"x": x()})
    assert [site.path for site in trace.sites] == ["layers.1"]
    with pytest.raises(CaptureError, match="no attention that attnscope can read"):
        attnscope.trace(net(Gate()), None, inputs={"x": x()})


def test_a_shared_module_is_numbered_by_its_calls() -> None:
    layer = Asking()
    trace = attnscope.trace(net(layer, layer), None, inputs={"x": x()})
    assert [(site.call, site.layer) for site in trace.sites] == [(0, 0), (1, 1)]


def test_layers_sites_and_index() -> None:
    model = net(Asking(), Asking(), Soft(way="F"))
    assert [s.layer for s in attnscope.trace(model, None, inputs={"x": x()}, layers=[1, 2]).sites] == [1, 2]
    assert [s.path for s in attnscope.trace(model, None, inputs={"x": x()}, sites=["layers.2"]).sites] == ["layers.2"]
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(x(batch=2))
    rows = [recorder.trace(index=index) for index in (0, 1)]
    for trace, row in zip(rows, x(batch=2), strict=True):
        alone = attnscope.trace(model, None, inputs={"x": row[None]})
        for site, other in zip(trace.sites, alone.sites, strict=True):
            assert close(site.weights(), other.weights())


def test_x_and_projections_are_kept() -> None:
    model = net(Asking(), Asking())
    trace = attnscope.trace(model, None, inputs={"x": x()}, keep={"x", "projections"})
    assert trace.sites[0].w_q is None or torch.equal(trace.sites[0].w_q.parameter, model.layers[0].qkv.weight)  # type: ignore[index]
    attention = nn.MultiheadAttention(M, H).eval()  # [T, B, M]
    turned = x().transpose(0, 1)
    kept = attnscope.trace(attention, None, inputs=dict.fromkeys(("query", "key", "value"), turned), keep={"x"})
    assert torch.equal(kept.sites[0].x, x()[0])


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_batch_is_refused() -> None:
    with pytest.raises(InputError, match=r"got inputs\['x'\] of shape \[2, 7, 15\].*batch of 2 rows.*recorder\.trace"):
        attnscope.trace(net(Asking()), None, inputs={"x": x(batch=2)})
    attention = nn.MultiheadAttention(M, H)
    inputs = dict.fromkeys(("query", "key", "value"), x(batch=2).transpose(0, 1))
    with pytest.raises(InputError, match="batch of 2 rows"):
        attnscope.trace(attention, None, inputs=inputs)


def test_nothing_that_attends() -> None:
    with pytest.raises(CaptureError, match="cannot be traced: it has no attention"):
        attnscope.trace(nn.Sequential(nn.Linear(M, M)), None, inputs={"input": x()})


def test_a_compiled_module_is_refused() -> None:
    model = net(Asking(), Asking())
    model.layers[1] = torch.compile(model.layers[1])  # type: ignore[index, operator]
    with pytest.raises(CaptureError, match="compiled"):
        attnscope.trace(model, None, inputs={"x": x()})


def test_another_thread_is_not_seen_and_the_error_says_so() -> None:
    model = net(Asking())
    with attnscope.capture(model) as recorder:
        parts.in_threads(lambda: model(x()))
    with pytest.raises(CaptureError, match="only in the thread that opened the capture"):
        recorder.trace()


def test_threads_with_captures_of_their_own() -> None:
    model = net(Asking(), Soft(way="F"))

    def job(tokens: int) -> None:
        for _ in range(3):
            trace = attnscope.trace(model, None, inputs={"x": x(tokens=tokens)})
            assert [site.queries for site in trace.sites] == [tokens, tokens]

    parts.in_threads(*(lambda tokens=tokens: job(tokens) for tokens in (3, 5, 11)))


# --- nothing is left behind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_taken_back(fails: bool) -> None:
    model = net(Asking(), Soft(way="F"))
    with contextlib.suppress(ZeroDivisionError), attnscope.capture(model):
        assert len(_get_current_function_mode_stack()) == 1
        model(x())
        if fails:
            raise ZeroDivisionError
    assert _get_current_function_mode_stack() == []
    assert all(not (m._forward_hooks or m._forward_pre_hooks) for m in model.modules())


def test_a_pass_that_breaks_off() -> None:
    model = net(Asking(), Asking())
    with attnscope.capture(model) as recorder:
        with pytest.raises(RuntimeError):
            model(x()[..., :4])
        model(x())
    assert [site.path for site in recorder.trace().sites] == ["layers.0", "layers.1"]


class Counting(TorchFunctionMode):
    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_captures_that_overlap_and_modes_of_others() -> None:
    first, second, own = net(Asking()), net(Asking()), Counting()
    one, two = attnscope.capture(first), attnscope.capture(second)
    a = one.__enter__()
    own.__enter__()
    b = two.__enter__()
    first(x())
    one.__exit__(None, None, None)
    second(x(tokens=11))
    two.__exit__(None, None, None)
    assert _get_current_function_mode_stack() == [own]
    scores, before = torch.zeros(3, 5), own.calls
    torch.softmax(scores, -1)
    after = own.calls
    assert after == before + 1
    own.__exit__(None, None, None)
    assert (a.trace().sites[0].queries, b.trace().sites[0].queries) == (T, 11)


def test_nested_captures_of_one_model() -> None:
    model = net(Asking(), Soft(way="F"))
    with attnscope.capture(model) as outer:
        with attnscope.capture(model) as inner:
            model(x())
        model(x(tokens=11))
    assert [site.queries for site in inner.trace().sites] == [T, T]
    assert [site.queries for site in outer.trace().sites] == [11, 11]


def test_outputs_and_gradients_stay() -> None:
    model = net(Asking(is_causal=True), Soft(way="torch"))
    grads = []
    for watched in (False, True):
        model.zero_grad()
        with attnscope.capture(model) if watched else contextlib.nullcontext() as recorder:
            out = model(x())
            out.square().sum().backward()
        grads.append([out.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(grads[0]) == 9
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert recorder is not None
    assert not recorder.trace().sites[0].q.requires_grad


def test_dropout_is_said() -> None:
    model = net(Asking(dropout_p=0.3))
    with attnscope.capture(model) as recorder:
        model(x())
    assert [receipt.status for receipt in recorder.trace().verify().sites] == ["unverified"]
    assert "dropout" in recorder.trace().sites[0].note


@pytest.mark.parametrize("hidden", [torch.eye(5).bool(), torch.ones(5, 5).bool()])
def test_a_mask_of_nan_gives_the_weights_that_the_model_has(hidden: Tensor) -> None:
    """NaN in a mask hides no key: it makes the whole row NaN."""

    class Masked(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x, mask)

    with torch.no_grad(), attnscope.capture(Masked()) as recorder:
        assert bool(
            recorder.model(torch.randn(1, 2, 5, 3), torch.zeros(5, 5).masked_fill(hidden, torch.nan)).isnan().all()
        )
    assert bool(recorder.trace().site(0).weights().isnan().all())
