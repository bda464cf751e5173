"""Where and how long an edit holds: cached generation, threads, tasks, blocks within each other, exceptions."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
import parts
from attnscope import CaptureError, InputError
from attnscope.capturing.listen import attention_interface
from edited_by_hand import before_output, hooks, outputs
from tiny_models import fresh_model, ids, inputs, model, padded_batch, tokenizer

NEW = 5


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert attention_interface._editor is None
    assert attention_interface._restore is None


def grown(m: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Ids and scores of a greedy generation."""
    given = {"input_ids": ids(1, 13), "max_new_tokens": NEW, "do_sample": False, "eos_token_id": 96}
    made = m.generate(**given, return_dict_in_generate=True, output_scores=True, **options)
    return made.sequences, torch.stack(made.scores)


GENERATING = [
    ("gpt2", "sdpa", {}),
    ("llama", "sdpa", {}),
    ("llama", "eager", {"cache_implementation": "static"}),
    ("mistral", "eager", {}),
    ("gpt_oss", "eager", {}),
    ("t5_generates", "eager", {}),
]


@pytest.mark.exactness
@pytest.mark.parametrize(("kind", "implementation", "options"), GENERATING)
@pytest.mark.parametrize("verb", ["off", "off at positions", "cut", "patch", "uniform"])
def test_a_cached_step_is_edited_as_the_whole_text_is(
    kind: str, implementation: str, options: dict[str, Any], verb: str
) -> None:
    m = model(kind, implementation)
    stack = "decoder" if kind == "t5_generates" else None
    other = {"input_ids": ids(1, 13, seed=8)}
    if stack:
        other = {"input_ids": ids(1, 13), "decoder_input_ids": torch.tensor([[7]])}
    trace = attnscope.trace(m, inputs=other)

    def edits(edit: Any) -> None:
        head = edit.head("L1H1", stack=stack)
        match verb:
            case "off":
                head.off()
            case "off at positions":
                edit.head("L1H1", stack=stack, positions=[0, 14] if stack is None else [0, 2]).off()
            case "cut":
                head.cut(query=slice(12 if stack is None else 2, None), key=[10, 11] if stack is None else 1)
            case "patch":
                head.patch(trace)
            case "uniform":
                head.weights("uniform")

    found = []
    for more in ({"use_cache": False}, options):
        with attnscope.edit(m) as edit:
            edits(edit)
            found.append(grown(m, **more))
        assert edit.receipt.passed, str(edit.receipt)
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-3)
    clean = grown(m, **options)
    assert not torch.allclose(found[1][1], clean[1], rtol=1e-3, atol=1e-3)


def test_a_token_is_found_in_the_text_of_a_generation() -> None:
    m, reader = model("llama", "sdpa"), tokenizer()
    text = reader("the cat sat on the mat", return_tensors="pt")["input_ids"]
    with attnscope.edit(m, reader) as edit:
        edit.head("L1H1").cut(query="mat", key="cat")
        m.generate(text, max_new_tokens=3, do_sample=False)
    assert edit.receipt.fired == (("edit.head(\"L1H1\").cut(query='mat', key='cat')", 1),), (
        "in the prompt, not in its steps"
    )
    with pytest.raises(CaptureError, match="is not among the tokens"):
        edited(m, lambda edit: edit.head("L1H1").cut(query="mat", key="dog"), reader, input_ids=text)


@torch.no_grad()
def test_each_row_of_a_batch_has_its_own_tokens() -> None:
    m, reader = model("bert"), tokenizer()
    texts = ["the cat sat", "a dog ran to the mat ."]
    batch = reader(texts, return_tensors="pt", padding=True)
    with attnscope.edit(m, reader) as edit:
        edit.head("L0H1", positions=["cat", "dog"]).off()
        made = outputs(m(**batch))
    places = [
        [
            row.index(word) if word in row else None
            for word in (reader.convert_tokens_to_ids("cat"), reader.convert_tokens_to_ids("dog"))
        ]
        for row in batch["input_ids"].tolist()
    ]

    def off(z: Tensor) -> Tensor:
        for row, found in enumerate(places):
            for place in found:
                if place is not None:
                    z[row, place, 1] = 0
        return z

    with hooks(before_output(m, "bert", 0, off)):
        assert torch.equal(made, outputs(m(**batch)))


@torch.no_grad()
def test_a_padded_batch() -> None:
    m, batch = model("llama", "eager"), padded_batch("left")
    with attnscope.edit(m) as edit:
        edit.layers(0).weights("uniform")
        both = outputs(m(**batch))[1, -8:]
    alone = batch["input_ids"][1:, -8:]
    with attnscope.edit(m) as edit:
        edit.layers(0).weights("uniform")
        torch.testing.assert_close(both, outputs(m(input_ids=alone))[0], rtol=1e-4, atol=1e-4)
    assert edit.receipt.passed


@torch.no_grad()
def test_an_edit_holds_in_the_thread_that_opened_it() -> None:
    m = model("gpt2", "sdpa")
    clean, found = m(**inputs("gpt2")).logits, []
    with attnscope.edit(m) as edit:
        edit.head("L1H1").off()
        other = threading.Thread(target=lambda: found.append(m(**inputs("gpt2")).logits.detach()))
        other.start()
        other.join()
        made = m(**inputs("gpt2")).logits
    assert torch.equal(found[0], clean)
    assert not torch.equal(made, clean)


def test_an_edit_holds_in_the_task_that_opened_it() -> None:
    m = model("gpt2", "sdpa")
    found: dict[str, Tensor] = {}

    async def plain(opened: asyncio.Event, done: asyncio.Event) -> None:
        await opened.wait()
        with torch.no_grad():
            found["plain"] = m(**inputs("gpt2")).logits
        done.set()

    async def editing(opened: asyncio.Event, done: asyncio.Event) -> None:
        with attnscope.edit(m) as edit:
            edit.head("L1H1").off()
            opened.set()
            await done.wait()
            with torch.no_grad():
                found["edited"] = m(**inputs("gpt2")).logits

    async def both() -> None:
        events = asyncio.Event(), asyncio.Event()
        await asyncio.gather(plain(*events), editing(*events))

    asyncio.run(both())
    with torch.no_grad():
        assert torch.equal(found["plain"], m(**inputs("gpt2")).logits)
    assert not torch.equal(found["plain"], found["edited"])


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_blocks_within_each_other_add_up(implementation: str) -> None:
    m = model("llama", implementation)

    def run() -> Tensor:
        return m(**inputs("llama")).logits

    with attnscope.edit(m) as edit:
        edit.head("L0H1").off()
        edit.head("L1H2").cut(query=5, key=1)
        edit.head("L1H2").cut(query=5, key=2)
        edit.head("L1H2").times(0.5)
        together = run()
    with attnscope.edit(m) as outer:
        outer.head("L0H1").off()
        outer.head("L1H2").cut(query=5, key=1)
        only_outer = run()
        with attnscope.edit(m) as inner:
            inner.head("L1H2").cut(query=5, key=2)
            inner.head("L1H2").times(0.5)
            nested = run()
        assert torch.equal(run(), only_outer)
    assert torch.equal(nested, together)
    assert not torch.equal(nested, only_outer)
    assert outer.receipt.passed
    assert inner.receipt.passed


@torch.no_grad()
def test_an_edit_of_a_part_of_the_model() -> None:
    m = model("gpt2", "sdpa")
    with attnscope.edit(m) as edit:
        edit.head("L1H1").off()
        whole = m(**inputs("gpt2")).logits
    with attnscope.edit(m.transformer) as edit:
        edit.head("L1H1").off()
        assert torch.equal(m(**inputs("gpt2")).logits, whole)


def test_an_exception_leaves_nothing_behind() -> None:
    m = fresh_model("gpt2", "sdpa")
    with torch.no_grad():
        clean = m(**inputs("gpt2")).logits
    hooks_before = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in m.modules())
    edit = attnscope.edit(m)

    def breaks_off(run: Any) -> None:
        with edit:
            edit.head("L1H1").off()
            run()

    with pytest.raises(ZeroDivisionError):
        breaks_off(lambda: (m(**inputs("gpt2")), 1 / 0))
    assert edit.receipt.model == ()
    edit = attnscope.edit(m)
    with pytest.raises(RuntimeError):
        breaks_off(lambda: m(input_ids=torch.zeros(1, 3, 4)))  # inside the model
    assert edit.receipt.model == ()
    after = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in m.modules())
    assert after == hooks_before
    with torch.no_grad():
        assert torch.equal(m(**inputs("gpt2")).logits, clean)


def test_an_idle_block_installs_nothing() -> None:
    m = model("gpt2", "sdpa")
    with attnscope.edit(m):
        assert attention_interface._restore is None
        m(**inputs("gpt2"))


def test_gradients_flow_through_an_edit() -> None:
    m = fresh_model("llama", "eager")
    for verb in ("times", "cut"):
        m.zero_grad()
        with attnscope.edit(m) as edit:
            chosen = edit.head("L1H1")
            chosen.times(0.5) if verb == "times" else chosen.cut(query=slice(4, None), key=2)
            m(**inputs("llama")).logits.square().mean().backward()
        gradient = m.model.layers[1].self_attn.q_proj.weight.grad.unflatten(0, (6, 10))
        assert gradient[1].abs().max() > 0
        assert gradient[2].abs().max() > 0


@torch.no_grad()
def test_places_are_those_of_a_trace() -> None:
    """Of a model that mixes tokens by other means in its first layer; and of one whose stack has its name from the sizes alone."""
    x = torch.randn(1, 7, 15)
    hybrid: Any = parts.Layers(torch.nn.Linear(15, 15), parts.Attention()).eval()
    hybrid.config = SimpleNamespace(num_hidden_layers=2)
    with attnscope.edit(hybrid) as edit:
        edit.head("L1H2").off()
        hybrid(x)
    assert edit.receipt.sites[0].name == "layer 1"

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.TransformerDecoderLayer(15, 3, 31, batch_first=True)])

        def forward(self, x: Tensor, memory: Tensor) -> Tensor:
            return self.layers[0](x, memory)

    decoder = Decoder().eval()
    given = {"x": x, "memory": torch.randn(1, 11, 15)}
    trace = attnscope.trace(decoder, inputs=given)
    site = next(site for site in trace.sites if site.kind == "cross")
    with attnscope.edit(decoder) as edit:
        edit.head(f"L{site.layer}H1", stack=site.stack).off()
        decoder(**given)
    assert edit.receipt.sites[0].name == site.name


# --- what is refused ----------------------------------------------------------------------------------------------------


def edited(m: Any, verb: Any, reader: Any = None, **given: Any) -> None:
    """One run of a model with an edit; without inputs none."""
    with attnscope.edit(m, reader) as edit:
        verb(edit)
        if given:
            m(**given)


def test_an_edit_that_never_fires() -> None:
    m = model("gpt2", "sdpa")
    with pytest.raises(CaptureError, match=r'edit.head\("L1H1"\).off\(\) changed nothing: no attention'):
        edited(m, lambda edit: edit.head("L1H1").off())
    with pytest.raises(CaptureError, match="positions 40 is beyond the text, which has 13 tokens"):
        edited(m, lambda edit: edit.head("L1H1", positions=40).off(), **inputs("gpt2"))


NOT_THERE = {
    "there is no layer 2 to edit: this model has attention in layers 0 to 1": lambda edit: edit.head("L2H0"),
    "expected a head with its layer": lambda edit: edit.head("3"),
    "no head was named": lambda edit: edit.heads(),
    "no layer was named": lambda edit: edit.layers([]),
    "there is no stack 'encoder'": lambda edit: edit.head("L0H0", stack="encoder"),
    "expected positions as a position": lambda edit: edit.head("L0H0", positions=1.5),
    "positions is empty": lambda edit: edit.head("L0H0", positions=[]),
    "head L1H3 is not there: layer 1 has 3 heads": lambda edit: edit.head("L1H3").off(),
}


@pytest.mark.parametrize("words", NOT_THERE)
def test_heads_layers_and_stacks_that_are_not_there(words: str) -> None:
    with pytest.raises(InputError, match=words):
        edited(model("gpt2", "sdpa"), NOT_THERE[words], **inputs("gpt2"))


def test_a_model_of_several_stacks_asks_for_one() -> None:
    with pytest.raises(InputError, match=r"several stacks.*'encoder' or stack='decoder'"):
        edited(model("t5"), lambda edit: edit.head("L0H0"))


def test_compiled_models_and_models_without_attention() -> None:
    with pytest.raises(CaptureError, match="compiled"):
        attnscope.edit(torch.compile(fresh_model("gpt2", "sdpa")))
    with pytest.raises(CaptureError, match="cannot be edited"):
        attnscope.edit(torch.nn.Linear(3, 5))


VERBS = {
    "row 1 of the weights sums to 0.5": lambda head: head.weights([[1.0, 0.0], [0.25, 0.25]]),
    'expected weights as "uniform"': lambda head: head.weights("flat"),
    "gives weight to a key that its query may not see": lambda head: head.weights(torch.full((13, 13), 1 / 13)),
    "has 5 positions, and this text has 13": lambda head: head.weights(torch.eye(5)),
    "leaves query 2 .* no key": lambda head: head.cut(query=[2, 5], key=slice(0, 3)),
    "expected a finite number": lambda head: head.times("half"),
    "patch takes a trace": lambda head: head.patch(),
    "cut needs a key": lambda head: head.cut(query=3),
    r"weights\(0.5, query=7, key=3\) needs a key": lambda head: head.weights(0.5, query=3),
    "expected a weight from 0 to 1, got 1.5": lambda head: head.weights(1.5, query=3, key=1),
    "query= and key= go with a number": lambda head: head.weights("uniform", key=1),
    r"weights\(0.5, query=3, key=5\) gives weight to a key that its query may not see": lambda head: head.weights(
        0.5, query=3, key=5
    ),
    "its query sees no other: its weight is 1": lambda head: head.weights(0.5, query=0, key=0),
    "expected over= as texts": lambda head: head.mean(over=[]),
    "expected by as": lambda head: head.mean(over=inputs("gpt2"), by="token"),
    "expected align": lambda head: head.patch(
        attnscope.trace(model("gpt2", "sdpa"), inputs=inputs("gpt2")), align={"a": 1}
    ),
    "has no tokenizer to find it with": lambda head: head.cut(query="cat", key=0),
}


@pytest.mark.parametrize("words", VERBS)
def test_verbs_that_do_not_fit(words: str) -> None:
    m = model("gpt2", "sdpa")
    with torch.no_grad():
        clean = m(**inputs("gpt2")).logits
    with pytest.raises(InputError, match=words):
        edited(m, lambda edit: VERBS[words](edit.head("L0H1")), **inputs("gpt2"))
    with torch.no_grad():
        assert torch.equal(m(**inputs("gpt2")).logits, clean)


def test_a_cut_names_its_queries_itself() -> None:
    with pytest.raises(InputError, match="leave positions= out"):
        edited(model("gpt2", "sdpa"), lambda edit: edit.head("L0H0", positions=3).cut(query=3, key=1))


def test_an_edit_holds_in_its_block_alone() -> None:
    edit = attnscope.edit(model("gpt2", "sdpa"))
    with pytest.raises(InputError, match="holds inside a with block"):
        edit.head("L0H0").off()
    with edit:
        pass
    with pytest.raises(InputError, match="was opened before"):
        edit.__enter__()
    with pytest.raises(InputError, match="holds inside a with block"):
        edit.head("L0H0").off()


def test_a_group_that_is_named_in_part() -> None:
    m = model("llama", "sdpa")
    trace = attnscope.trace(m, inputs=inputs("llama"))
    words = r'share one k \(key/value head 1 of layer 1\).*"L1H3", "L1H4", "L1H5"'
    with pytest.raises(InputError, match=words):
        edited(m, lambda edit: edit.head("L1H4").patch(k=trace), **inputs("llama"))


def test_a_patch_from_a_text_of_another_length() -> None:
    m = model("llama", "sdpa")
    other = attnscope.trace(m, inputs={"input_ids": ids(1, 7, seed=4)})
    with pytest.raises(InputError, match="has 7 positions, and this text has 13"):
        edited(m, lambda edit: edit.head("L1H4").patch(other), **inputs("llama"))

    def put(z: Tensor) -> Tensor:
        z[:, 9, 4] = other.site(1).output(4)[5]
        return z

    with torch.no_grad(), hooks(before_output(m, "llama", 1, put)):
        by_hand = m(**inputs("llama")).logits
    with torch.no_grad(), attnscope.edit(m) as edit:
        edit.head("L1H4").patch(other, align={9: 5})
        torch.testing.assert_close(m(**inputs("llama")).logits, by_hand, rtol=1e-4, atol=1e-4)


def test_gradient_checkpointing_is_refused() -> None:
    m = fresh_model("llama", "sdpa").train()
    m.gradient_checkpointing_enable({"use_reentrant": False})

    def trains() -> None:
        with attnscope.edit(m) as edit:
            edit.head("L1H1").off()
            m(**inputs("llama"), use_cache=False).logits.mean().backward()

    with pytest.raises(CaptureError, match="gradient checkpointing"):
        trains()
