"""capture(): the model's numbers stay its own, nothing is left behind, and captures do not mix."""

import contextlib
import sys
import threading
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface

import attnscope
import parts
import tiny_models as tiny
from attnscope import CaptureError, InputError, Trace
from closeness import close, same_weights, through_softmax


@torch.no_grad()
def logits(model: Any, **inputs: Any) -> Tensor:
    return model(**inputs)[0]


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())


def same_numbers(first: Trace, second: Trace) -> bool:
    return all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in zip(first.sites, second.sites, strict=True)
        for name in ("q", "k", "v", "z")
    )


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    before = AttentionInterface.get_interface, transformers.Cache.update
    yield
    assert (AttentionInterface.get_interface, transformers.Cache.update) == before


# --- the model's numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "mistral"])
def test_outputs_are_bit_equal(name: str, implementation: str) -> None:
    model, inputs = tiny.model(name, implementation), tiny.inputs(name)
    plain = logits(model, **inputs)
    with attnscope.capture(model, keep={"x", "pre_rotary"}):
        captured = logits(model, **inputs)
    assert torch.equal(plain, captured)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
def test_generation_is_bit_equal(name: str, implementation: str) -> None:
    model = tiny.model(name, implementation)
    options: dict[str, Any] = {
        "max_new_tokens": 7,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_scores": True,
        "eos_token_id": None,
    }
    plain = model.generate(tiny.ids(), **options)
    with attnscope.capture(model) as recorder:
        captured = model.generate(tiny.ids(), **options)
    assert torch.equal(plain.sequences, captured.sequences)
    assert all(torch.equal(a, b) for a, b in zip(plain.scores, captured.scores, strict=True))
    assert recorder.passes == 7


def test_inference_mode() -> None:
    model = tiny.model("llama", "sdpa")
    with torch.inference_mode(), attnscope.capture(model) as recorder:
        model(**tiny.padded_batch("left"))
    assert recorder.trace(index=1).verify().passed


def test_training_step() -> None:
    """Gradients flow as without a capture; dropout is flagged, and not taken for an error."""
    grads = []
    for captured in (False, True):
        model = tiny.fresh_model("bert", "sdpa", attention_probs_dropout_prob=0.3).train()
        torch.manual_seed(3)
        if captured:
            with attnscope.capture(model) as recorder:
                model(**tiny.inputs("bert"))[0].square().sum().backward()
        else:
            model(**tiny.inputs("bert"))[0].square().sum().backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(grads[0]) > 20
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    trace = recorder.trace()
    assert not trace.sites[0].q.requires_grad
    assert [site.verify().status for site in trace.sites] == ["unverified"] * 2
    assert "dropout was active" in trace.verify().sites[0].note
    assert not trace.verify().passed


def test_gradient_checkpointing_is_no_new_pass() -> None:
    model = tiny.fresh_model("llama", "sdpa").train()
    model.gradient_checkpointing_enable()
    with attnscope.capture(model) as recorder:
        model(**tiny.inputs("llama"), use_cache=False)[0].sum().backward()
    assert recorder.passes == 1
    assert len(recorder.trace().sites) == 2


# --- nothing is left behind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_taken_back(fails: bool) -> None:
    model = tiny.model("llama")
    module = transformers.models.llama.modeling_llama
    interface, rotary, before = AttentionInterface.get_interface, module.apply_rotary_pos_emb, hooks(model)
    with contextlib.suppress(ZeroDivisionError):
        with attnscope.capture(model, keep={"x", "pre_rotary"}):
            assert AttentionInterface.get_interface is not interface
            assert module.apply_rotary_pos_emb is not rotary
            assert hooks(model) > before
            logits(model, **tiny.inputs("llama"))
            if fails:
                raise ZeroDivisionError
    assert AttentionInterface.get_interface is interface
    assert module.apply_rotary_pos_emb is rotary
    assert hooks(model) == before


def test_an_exception_inside_the_model() -> None:
    """A pass that breaks off is closed: the next one is a pass of its own."""
    model = tiny.model("llama")
    with attnscope.capture(model) as recorder:
        with pytest.raises(IndexError):
            model(torch.full((1, 5), 10**6))
        logits(model, **tiny.inputs("llama"))
        assert recorder.passes == 2
    assert len(recorder.trace().sites) == 2


def test_a_capture_that_cannot_open_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    before = hooks(model)
    monkeypatch.setattr(sys.modules["transformers"], "__version__", "4.57.1")
    with pytest.raises(CaptureError, match=r"4\.57\.1.*pip install 'transformers>=5.1,<6'"), attnscope.capture(model):
        pass
    assert hooks(model) == before
    monkeypatch.setattr(sys.modules["transformers"], "__version__", "6.0.0.dev0")
    with pytest.raises(CaptureError, match=r"6\.0\.0"):
        attnscope.trace(model, None, inputs=tiny.inputs("llama"))
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "2.4.1+cpu")
    with pytest.raises(CaptureError, match=r"torch from 2\.5 on, and this is torch 2\.4\.1.*pip install 'torch>=2.5'"):
        attnscope.trace(model, None, inputs=tiny.inputs("llama"))


# --- captures do not mix --------------------------------------------------------------------------------------------


def alone(name: str, seed: int) -> Trace:
    return attnscope.trace(tiny.model(name, "sdpa"), None, inputs={"input_ids": tiny.ids(1, 13, seed=seed)})


def test_nested_captures_of_one_model() -> None:
    model = tiny.model("llama", "sdpa")
    with attnscope.capture(model, keep={"pre_rotary", "x"}) as outer:
        logits(model, input_ids=tiny.ids(1, 13, seed=1))
        with attnscope.capture(model, keep={"pre_rotary", "x"}) as inner:
            logits(model, input_ids=tiny.ids(1, 13, seed=2))
        assert (outer.passes, inner.passes) == (2, 1)
        for recorder in (outer, inner):
            trace = recorder.trace()
            assert same_numbers(trace, alone("llama", 2))
            assert all(site.x is not None and site.pre_rotary_q is not None for site in trace.sites)
        logits(model, input_ids=tiny.ids(1, 13, seed=3))
    assert same_numbers(outer.trace(), alone("llama", 3))
    assert same_numbers(inner.trace(), alone("llama", 2))


def test_captures_that_overlap_without_nesting() -> None:
    first_model, second_model = tiny.model("llama", "sdpa"), tiny.model("gpt2", "sdpa")
    first, second = attnscope.capture(first_model), attnscope.capture(second_model)
    a, b = first.__enter__(), second.__enter__()
    logits(first_model, input_ids=tiny.ids(1, 13, seed=1))
    first.__exit__(None, None, None)
    logits(second_model, input_ids=tiny.ids(1, 13, seed=2))
    logits(first_model, input_ids=tiny.ids(1, 13, seed=3))
    second.__exit__(None, None, None)
    assert same_numbers(a.trace(), alone("llama", 1))
    assert same_numbers(b.trace(), alone("gpt2", 2))
    assert (a.passes, b.passes) == (1, 1)


def test_threads_with_models_of_their_own() -> None:
    names = ["llama", "gpt2", "bert", "t5"]
    inputs = {name: tiny.inputs(name) for name in names}
    expected = {name: attnscope.trace(tiny.model(name, "sdpa"), None, inputs=inputs[name]) for name in names}
    ready = threading.Barrier(len(names))

    def job(name: str) -> None:
        ready.wait(60)
        for _ in range(8):
            trace = attnscope.trace(tiny.model(name, "sdpa"), None, inputs=inputs[name])
            assert same_numbers(trace, expected[name])

    parts.in_threads(*(lambda name=name: job(name) for name in names))


def test_threads_with_one_model() -> None:
    """One recorder sees the passes of every thread, each whole; captures of a thread's own hold whole passes too."""
    model, seeds = tiny.model("mistral", "sdpa"), range(4)
    expected = {seed: alone("mistral", seed) for seed in seeds}
    ready = threading.Barrier(len(seeds))

    def job(seed: int) -> None:
        ready.wait(60)
        for _ in range(6):
            logits(model, input_ids=tiny.ids(1, 13, seed=seed))

    with attnscope.capture(model, keep_passes=99) as recorder:
        parts.in_threads(*(lambda seed=seed: job(seed) for seed in seeds))
    assert recorder.passes == 24
    found = [recorder.trace(forward=number) for number in range(24)]
    for seed in seeds:
        assert sum(same_numbers(trace, expected[seed]) for trace in found) == 6


def test_threads_that_generate_with_one_model() -> None:
    model, seeds = tiny.model("llama", "sdpa"), range(3)
    ready = threading.Barrier(len(seeds))
    texts: dict[int, Tensor] = {}

    def job(seed: int) -> None:
        ready.wait(60)
        texts[seed] = model.generate(tiny.ids(1, 7, seed=seed), max_new_tokens=6, do_sample=False, eos_token_id=None)

    with attnscope.capture(model, keep_passes=99) as recorder:
        parts.in_threads(*(lambda seed=seed: job(seed) for seed in seeds))
    last = [trace for n in range(18) if (trace := recorder.trace(forward=n)).sites[0].keys == 12]
    whole = [attnscope.trace(model, None, inputs={"input_ids": text[:, :-1]}) for text in texts.values()]
    assert len(last) == 3
    for trace in last:
        assert sum(bool(close(trace.sites[1].k, other.sites[1].k)) for other in whole) == 1


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_passes_and_forward() -> None:
    model = tiny.model("bert", "sdpa")
    with attnscope.capture(model, keep_passes=2) as recorder:
        for seed in range(3):
            logits(model, input_ids=tiny.ids(1, 13, seed=seed))
    assert recorder.passes == 3
    assert same_numbers(recorder.trace(), alone("bert", 2))
    assert same_numbers(recorder.trace(forward=-2), alone("bert", 1))
    assert same_numbers(recorder.trace(forward=0), alone("bert", 1))
    with pytest.raises(InputError, match=r"forward 2 .*2 of 3 passes are kept \(keep_passes=2\)"):
        recorder.trace(forward=2)
    with (
        pytest.raises(InputError, match="expected keep_passes as a number from 1 on, got 0"),
        attnscope.capture(model, keep_passes=0),
    ):
        pass


def test_index_of_the_batch() -> None:
    model, batch = tiny.model("llama", "sdpa"), tiny.ids(3, 11, seed=4)
    with attnscope.capture(model) as recorder:
        logits(model, input_ids=batch)
    for index in (0, 1, 2, -1):
        trace = recorder.trace(index=index, input_ids=batch)
        single = attnscope.trace(model, None, inputs={"input_ids": batch[index][None]})
        assert same_weights(trace.sites[1], single.sites[1].weights())
        assert list(trace.tokens.ids) == batch[index].tolist()
    with pytest.raises(InputError, match="index 3 is out of range: the batch of that pass has 3 rows"):
        recorder.trace(index=3)
    with pytest.raises(InputError, match="12 tokens were given, but this pass attends over 11 positions"):
        recorder.trace(tokens=["a"] * 12)
    with pytest.raises(InputError, match="input_ids have 1 rows"):
        recorder.trace(index=2, input_ids=batch[:1])


@pytest.mark.parametrize("name", ["llama", "albert", "t5"])
def test_layers(name: str) -> None:
    model, inputs = tiny.model(name, "sdpa"), tiny.inputs(name)
    trace = attnscope.trace(model, None, inputs=inputs, layers=[1])
    whole = attnscope.trace(model, None, inputs=inputs)
    assert {site.layer for site in trace.sites} == {1}
    assert trace.stacks.keys() == whole.stacks.keys()
    assert same_numbers(trace, whole.replace_sites([site for site in whole.sites if site.layer == 1]))
    with pytest.raises(InputError, match=r"there is no layer 7; this model has attention in layers 0, 1"):
        attnscope.trace(model, None, inputs=inputs, layers=[1, 7])


def test_layers_that_nobody_asked_for_are_let_go() -> None:
    model = tiny.model("llama", "sdpa")
    with attnscope.capture(model, layers=[1]) as recorder:
        logits(model, **tiny.inputs("llama"))
        assert [record.path for record in recorder._recording.passes.kept[-1].records] == ["model.layers.1.self_attn"]


def test_sites() -> None:
    model, inputs = tiny.model("t5", "sdpa"), tiny.inputs("t5")
    trace = attnscope.trace(model, None, inputs=inputs, sites=["decoder.block.1"])
    assert [(site.stack, site.layer) for site in trace.sites] == [("decoder", 1), ("cross", 1)]
    assert trace.verify().passed
    with pytest.raises(
        InputError, match=r"sites=\['decoder.block.5'\] names none.*decoder.block.0.layer.0.SelfAttention"
    ):
        attnscope.trace(model, None, inputs=inputs, sites=["decoder.block.5"])


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "modernbert", "qwen3"])
def test_keep_pre_rotary(name: str) -> None:
    """The model's own rotary function turns what is kept into q and k."""
    model = tiny.model(name)
    module = __import__(type(model).__module__, fromlist=["apply_rotary_pos_emb"])
    seen: list[Any] = []
    original = module.apply_rotary_pos_emb
    module.apply_rotary_pos_emb = lambda *args, **kwargs: (
        seen.append(((args, kwargs), original(*args, **kwargs))) or seen[-1][1]
    )
    try:
        trace = attnscope.trace(model, None, inputs=tiny.inputs(name), keep={"pre_rotary"})
    finally:
        module.apply_rotary_pos_emb = original
    assert len(seen) == len(trace.sites)
    for site, (((q, k, *_), _), (turned_q, turned_k)) in zip(trace.sites, seen, strict=True):
        assert site.pre_rotary_q is not None
        assert site.pre_rotary_k is not None
        assert torch.equal(site.pre_rotary_q, q[0])
        assert torch.equal(site.pre_rotary_k, k[0])
        assert torch.equal(site.q, turned_q[0])
        assert torch.equal(site.k, turned_k[0])
        assert not torch.equal(site.q, q[0])


def test_keep_x() -> None:
    """x through the model's own projection gives q before the rotary embedding."""
    model = tiny.model("llama")
    trace = attnscope.trace(model, None, inputs=tiny.inputs("llama"), keep={"x", "pre_rotary"})
    for layer, site in enumerate(trace.sites):
        x = site.x
        assert x is not None
        assert x.shape == (13, 18)
        q = model.model.layers[layer].self_attn.q_proj(x).unflatten(-1, (6, 10)).transpose(0, 1)
        assert close(q, site.pre_rotary_q)
    assert [link.name for link in site.steps(head=0, query=5)][:3] == ["x", "pre_rotary_query", "query"]
    plain = attnscope.trace(model, None, inputs=tiny.inputs("llama")).sites[0]
    assert plain.x is None
    assert plain.pre_rotary_q is None
    with pytest.raises(InputError, match=r"keep has \['weights'\]"):
        attnscope.trace(model, None, inputs=tiny.inputs("llama"), keep={"weights"})


# --- cached generation ----------------------------------------------------------------------------------------------


def compare_steps(model: Any, recorder: Any, text: Tensor, prompt: int) -> None:
    """Every step's q, k, v and weights are those of one pass over the text so far, without a cache."""
    for step in range(recorder.passes):
        length = prompt + step
        trace = recorder.trace(forward=step, input_ids=text[:, :length])
        whole = attnscope.trace(model, None, inputs={"input_ids": text[:, :length]})
        assert trace.verify().passed, (step, str(trace.verify()))
        for site, other in zip(trace.sites, whole.sites, strict=True):
            queries = slice(0, length) if step == 0 else slice(length - 1, length)
            assert site.keys == length
            assert site.query_offset == queries.start
            assert close(site.q, other.q[:, queries])
            weights = other.weights(queries=queries)
            assert same_weights(site, weights), (step, site)
            seen = (weights > 0).any(0).any(0)
            assert close(site.k[:, seen], other.k[:, seen])
            assert close(site.v[:, seen], other.v[:, seen])


@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize(
    ("name", "implementation"),
    [
        (name, implementation)
        for name in ("llama", "mistral", "gpt_neox", "gemma2", "gpt_oss")
        for implementation in tiny.KINDS[name].runs
    ],
)
def test_steps_with_a_cache(name: str, implementation: str, cache: str | None) -> None:
    model = tiny.model(name, implementation)
    with attnscope.capture(model, keep_passes=99) as recorder:
        text = model.generate(
            tiny.ids(1, 7), max_new_tokens=8, do_sample=False, eos_token_id=None, cache_implementation=cache
        )
    assert recorder.passes == 8
    compare_steps(model, recorder, text, 7)


def test_a_static_cache_used_twice() -> None:
    """The second text overwrites the cache, not what was captured of the first."""
    model = tiny.model("llama", "sdpa")
    cache = transformers.StaticCache(config=model.config, max_cache_len=13)
    with attnscope.capture(model, keep_passes=2) as recorder:
        logits(model, input_ids=tiny.ids(1, 13, seed=1), past_key_values=cache)
        cache.reset()
        logits(model, input_ids=tiny.ids(1, 13, seed=2), past_key_values=cache)
    for forward, seed in ((0, 1), (1, 2)):
        assert close(recorder.trace(forward=forward).sites[1].k, alone("llama", seed).sites[1].k)


def test_beam_search() -> None:
    model = tiny.model("llama", "sdpa")
    with attnscope.capture(model, keep_passes=99) as recorder:
        model.generate(tiny.ids(2, 7), max_new_tokens=6, num_beams=3, do_sample=False, eos_token_id=None)
    for forward in range(recorder.passes):
        for index in range(6):
            trace = recorder.trace(forward=forward, index=index)
            assert trace.verify().passed
            assert trace.sites[0].keys == 7 + forward


def test_a_padded_batch_is_generated() -> None:
    model, batch = tiny.model("llama", "sdpa"), tiny.padded_batch("left")
    with attnscope.capture(model, keep_passes=99) as recorder:
        text = model.generate(**batch, max_new_tokens=4, do_sample=False, eos_token_id=None)
    short = attnscope.trace(model, None, inputs={"input_ids": text[1:, 5:-1]})
    last = recorder.trace(index=1, input_ids=text[:, :-1])
    size = through_softmax(last.sites[1].scores())
    assert close(last.sites[1].weights()[:, 0, 5:], short.sites[1].weights()[:, -1], magnitude=size)
    assert float(last.sites[1].weights()[..., :5].max()) == 0


def test_generation_of_an_encoder_decoder_model() -> None:
    model = tiny.model("t5_generates", "sdpa")
    with attnscope.capture(model, keep_passes=99) as recorder:
        text = model.generate(tiny.ids(), max_new_tokens=4, do_sample=False, eos_token_id=None)
    steps = [recorder.trace(forward=n) for n in range(len(recorder._recording.passes.kept))]
    assert steps[0].stacks == {"encoder": 2}
    assert [trace.stacks for trace in steps[1:]] == [{"decoder": 2, "cross": 2}] * 4
    whole = attnscope.trace(model, None, inputs={"input_ids": tiny.ids(), "decoder_input_ids": text[:, :-1]})
    last = steps[-1]
    assert last.verify().passed
    for stack in ("decoder", "cross"):
        assert same_weights(last.site(1, stack), whole.site(1, stack).weights(queries=[-1]))


# --- what cannot be captured ----------------------------------------------------------------------------------------


def test_unknown_tensor_arguments_are_refused_by_name() -> None:
    model = parts.Layers(parts.Attention(parts.steered_attention, steering=torch.full((5,), 0.7)))
    with attnscope.capture(model) as recorder:
        model(torch.randn(1, 7, 15))
    with pytest.raises(CaptureError, match=r"layers\.0 .*tensor argument .*\(steering\)"):
        recorder.trace()


def test_unknown_tensor_arguments_that_change_nothing_are_named() -> None:
    model = parts.Layers(parts.Attention(steering=torch.zeros(5)))
    with attnscope.capture(model) as recorder:
        model(torch.randn(1, 7, 15))
    trace = recorder.trace()
    assert trace.verify().passed
    assert "steering, which changes nothing" in trace.sites[0].note


def test_sinks_of_each_query_are_read() -> None:
    """One more logit for each query joins the softmax, and its column is dropped."""

    def with_sinks(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        scores = query @ key.mT * query.shape[-1] ** -0.5
        weights = torch.cat([scores, options["sinks"]], -1).softmax(-1)[..., :-1]
        return (weights @ value).transpose(1, 2), weights

    sinks = torch.randn(2, 3, 7, 1)
    layer = parts.Attention(with_sinks, sinks=sinks)
    model, x = parts.Layers(layer), torch.randn(2, 7, 15)
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(x)
    (site,) = recorder.trace(index=1).sites
    assert site.verify().status == "exact"
    q, k = (layer.heads(one(x))[1] for one in (layer.q, layer.k))
    expected = torch.cat([q @ k.mT * 5**-0.5, sinks[1]], -1).softmax(-1)[..., :-1]
    assert close(site.weights(), expected, magnitude=1)


def test_unrecorded_modules_are_listed() -> None:
    model = parts.Layers(parts.Attention(), parts.MyAttention(), nn.Linear(15, 15))
    with attnscope.capture(model) as recorder:
        model(torch.randn(1, 7, 15))
    trace = recorder.trace()
    assert trace.unrecorded == ("layers.1",)
    assert [site.path for site in trace.sites] == ["layers.0"]


@pytest.mark.parametrize("how", ["outside", "in place", "a part"])
def test_a_compiled_model_is_refused(how: str) -> None:
    model = tiny.fresh_model("llama")
    if how == "in place":
        model.compile()
    elif how == "a part":
        model.model = torch.compile(model.model)
    compiled = torch.compile(model) if how == "outside" else model
    with pytest.raises(CaptureError, match="compiled"), attnscope.capture(compiled):
        pass


def test_an_empty_capture_is_an_error() -> None:
    with attnscope.capture(tiny.model("bert")) as recorder:
        pass
    with pytest.raises(CaptureError, match="no forward pass of this model ran"):
        recorder.trace()


def test_a_model_without_attention() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU())
    with attnscope.capture(model) as recorder:
        model(torch.randn(3, 5))
    with pytest.raises(CaptureError, match=r"no attention that attnscope can read\. Its modules are: Linear, ReLU"):
        recorder.trace()


def test_a_model_whose_attention_cannot_be_captured() -> None:
    model = parts.Layers(parts.MyAttention(), parts.MyAttention())
    with attnscope.capture(model) as recorder:
        model(torch.randn(1, 7, 15))
    with pytest.raises(CaptureError, match=r"Modules that look like attention: layers\.0, layers\.1"):
        recorder.trace()


def test_a_part_of_the_model_by_itself() -> None:
    """Calls outside the model's own forward are passes too."""
    model = tiny.model("t5", "sdpa")
    with torch.no_grad(), attnscope.capture(model, keep_passes=3) as recorder:
        for seed in range(2):
            model.encoder(tiny.ids(1, 13, seed=seed))
    assert recorder.passes == 2
    trace = recorder.trace()
    assert trace.stacks == {"encoder": 2}
    assert trace.verify().passed


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_nan_and_inf_are_traced_and_flagged(implementation: str) -> None:
    model = tiny.fresh_model("llama", implementation)
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight[3] = float("nan")
    trace = attnscope.trace(model, None, inputs=tiny.inputs("llama"))
    assert any("NaN or infinite values" in note and "layer 1" in note for note in trace.notes)
    assert [site.status for site in trace.verify().sites] == ["exact", "exact"]
    assert "NaN or infinite" in trace.verify().sites[1].note
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.fill_(float("inf"))
    trace = attnscope.trace(model, None, inputs=tiny.inputs("llama"))
    # Scores of NaN: some kernels of torch give NaN (nothing to compare with), others take the row for a masked one and
    # give zeros, which the recomputed NaN does not match. Which one runs depends on the processor.
    z = trace.sites[0].z
    assert z is not None
    assert bool(z.isnan().all()) or (implementation == "sdpa" and not bool(z.any()))
    assert trace.verify().sites[0].status == ("unverified" if bool(z.isnan().all()) else "failed")
    assert not trace.verify().passed
    assert any("layer 0, layer 1" in note for note in trace.notes)


def test_large_values_are_not_flagged() -> None:
    """The sum of q may overflow where q does not."""
    from attnscope.capturing.notes import broken_numbers

    x = torch.full((2, 3, 5), 3e38)
    assert broken_numbers(Trace.from_qkv(x, x, x).sites) == []
    assert broken_numbers(Trace.from_qkv(x, x, x * float("inf")).sites) != []


def test_generate_returns_one_token_more_than_the_model_read() -> None:
    model = tiny.model("gpt2")
    prompt = torch.arange(5)[None]
    with attnscope.capture(model) as recorder, torch.no_grad():
        out = model.generate(prompt, max_new_tokens=4, do_sample=False, pad_token_id=0)
    trace = recorder.trace(input_ids=out)
    assert len(trace.tokens) == out.shape[1] - 1 == trace.sites[0].keys
    with pytest.raises(InputError, match="tokens were given"):
        recorder.trace(input_ids=torch.cat([out, out], dim=1))


def test_the_texts_of_a_pair_are_told_apart_by_what_the_pass_was_given(demo) -> None:
    """As CrossEncoder.predict runs: longer pairs first, ids and types known to the pass alone."""
    model, tokenizer = demo
    pairs = [("He left.", "Why?"), ("As the aircraft becomes lighter, it flies higher.", "It climbs.")]
    batch = tokenizer([a for a, _ in pairs[::-1]], [b for _, b in pairs[::-1]], return_tensors="pt", padding=True)
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**batch)
    for row, types in enumerate(batch["token_type_ids"].tolist()):
        assert list(recorder.trace(tokenizer=tokenizer, index=row).tokens.segments) == types
    own = tokenizer(*pairs[0])["input_ids"]
    found = recorder.trace(tokenizer=tokenizer, input_ids=[own], index=0).tokens
    assert list(found.segments) == batch["token_type_ids"][1].tolist()
