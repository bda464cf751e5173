"""What does not fit is refused, before anything runs, in a message that says what was expected, what came and what to do.

A table: the call, and how the message must go. Annotations are not enforced here, as they are not for users.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope import InputError, Trace, View, capture, check, compare, load_trace, trace

X = torch.ones(2, 5, 3)
IDS = tiny.ids(1, 7)
NAN = float("nan")
FLAG = "it is True or False"
ATTENTION = torch.nn.functional.scaled_dot_product_attention


@pytest.fixture(autouse=True)
def _as_users_call_it() -> Iterator[None]:
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def known() -> Trace:
    return trace(tiny.model("bert"), tiny.tokenizer(), "the cat sat")


def of(**more: Any) -> Trace:
    """A text read by the tiny BERT, with these arguments beside or in its place."""
    given = {"model": tiny.model("bert"), "tokenizer": tiny.tokenizer(), "text": "the cat", **more}
    return trace(given.pop("model"), given.pop("tokenizer"), given.pop("text"), **given)


def ready(name: str = "bert", **inputs: Any) -> Trace:
    return trace(tiny.model(name), None, inputs=inputs)


def opened(*given: Any, **more: Any) -> None:
    with capture(*given, **more):
        pass


TRACE: list[tuple[Callable[[], Any], str]] = [
    # what reads
    (lambda: of(model="bert"), "expected the model, a torch module, as the first argument, got str"),
    (lambda: of(model=None), "got NoneType"),
    (lambda: of(model=type(tiny.model("bert"))), "got type"),
    (lambda: of(model=tiny.tokenizer(), tokenizer=tiny.model("bert")), "a torch module, as the first argument"),
    (lambda: of(tokenizer=7), "a text needs a tokenizer as the second argument"),
    (lambda: of(tokenizer="the cat"), "expected the tokenizer as the second argument, got a text"),
    (lambda: of(tokenizer=tiny.model("bert")), "got BertModel, which is a model"),
    (
        lambda: of(tokenizer=lambda text, **_: text),
        r"tokenizer \(function\) could not.*it returned str without input_ids",
    ),
    (lambda: of(tokenizer=lambda text: text), r"it raised TypeError"),
    # what is read
    (lambda: of(text=7), "expected text as one string, got int"),
    (lambda: of(text=["a", "b"]), "got list; pass one of them, or use attnscope.capture"),
    (lambda: of(text=b"a"), "got bytes"),
    (lambda: of(text=""), "text is empty"),
    (lambda: of(text_pair=7), "expected text_pair as one string, got int"),
    (lambda: of(model=tiny.model("t5"), text_target=7), "text_target as a string with at least one word, got 7"),
    (lambda: of(text=None), "give exactly one of text, messages and inputs; none was given"),
    (lambda: of(text=None, inputs=[1, 2]), "expected inputs as a mapping of.*got list.*ids alone are given as ids"),
    (lambda: of(text=None, inputs=IDS), "got Tensor"),
    (lambda: of(text=None, inputs="the cat"), "got str"),
    (lambda: of(text=None, inputs={}), "inputs is empty"),
    (lambda: ready(ids=IDS), "inputs has 'ids', and the forward of BertModel takes input_ids"),
    (lambda: ready(input_ids=["the", "cat"]), r"inputs\['input_ids'\] is no tensor, and cannot be made one"),
    (lambda: ready(input_ids=[[1, 2], [3]]), "rows of one length"),
    (lambda: ready(input_ids="the"), "as a tensor or a list of numbers, got str"),
    (lambda: ready(input_ids=None), "got NoneType"),
    (lambda: ready(input_ids=IDS.float()), "as whole numbers, got float32.*inputs_embeds"),
    (lambda: ready(input_ids=IDS > 50), "as whole numbers, got bool"),
    (lambda: ready(input_ids=[5, -1, 7]), r"inputs\['input_ids'\] has -1, and ids count from 0"),
    (lambda: ready(input_ids=[5, 9999]), "these ids do not fit this model: token 1 has id 9999.*has 97 entries"),
    (lambda: ready("t5", input_ids=IDS, decoder_input_ids=[[-100, 3]]), r"\['decoder_input_ids'\] has -100"),
    (lambda: ready(input_ids=IDS, attention_mask=torch.ones(1, 3)), r"has shape \[1, 3\], and input_ids \[1, 7\]"),
    (lambda: ready(input_ids=IDS, attention_mask=torch.full((1, 7), NAN)), r"\['attention_mask'\] holds NaN"),
    (lambda: ready(input_ids=IDS, attention_mask="all"), "as a tensor or a list of numbers, got str"),
    (lambda: ready(input_ids=IDS, attention_mask=torch.ones(1, 1, 7, 7)), "four axes and holds 0 and 1 as floats"),
    (lambda: ready(input_ids=IDS, attention_mask=-torch.ones(1, 7)), r"\['attention_mask'\] holds -1\. With two axes"),
    (
        lambda: ready(input_ids=IDS, attention_mask=1 - 2 * torch.ones(1, 7).long()),
        r"\['attention_mask'\] holds -1\. With two",
    ),
    (lambda: ready(input_ids=IDS, attention_mask=torch.ones(1, 7) * 1j), r"\['attention_mask'\] has complex numbers"),
    (lambda: ready(inputs_embeds=torch.ones(1, 7, 5) * 1j), r"\['inputs_embeds'\] has complex numbers \(complex64\)"),
    (lambda: of(text=None, ids=[5, 10**12]), r"token 1 \('\?'\) has id 1000000000000"),
    (lambda: of(text=None, ids="the"), "expected ids as a sequence of whole numbers, got str"),
    (lambda: of(text=None, ids=["the"]), "expected ids as a sequence of whole numbers, got list"),
    (lambda: of(text=None, ids=[1, -2]), "ids has -2: ids count from 0"),
    (lambda: of(text=None, ids=[1.5]), "expected ids as whole numbers, got float32"),
    (lambda: of(text=None, ids=[1, 9999]), "does not fit this model: token 1 .* has id 9999"),
    (lambda: of(model=tiny.fresh_model("bert", vocab_size=50), text="the z"), r"token 2 \('z'\) has id 50"),
    # how
    (lambda: of(truncate="no"), f"truncate is 'no'; {FLAG}"),
    (lambda: of(truncate=1), f"truncate is 1; {FLAG}"),
    *(
        (lambda wrong=wrong: of(generate=wrong), "expected generate as the number of tokens")
        for wrong in ("3", 2.5, True, [3])
    ),
    *(
        (lambda wrong=wrong: of(layers=wrong), "expected layers as a number or a name")
        for wrong in (1.5, [None], "two")
    ),
    (lambda: of(layers=[]), "layers is empty.*None for all"),
    (lambda: of(layers=99), "there is no layer 99; this model has attention in layers 0, 1"),
    (lambda: of(sites=3), "expected sites as module paths"),
    (lambda: of(sites=[]), "sites is empty.*None for all"),
    (lambda: of(sites=["x"]), "names none of the attention modules"),
    (lambda: of(keep=3), "expected keep as names"),
    (lambda: of(keep=["q"]), "keep has .'q'.; besides q, k and v it takes x"),
    (lambda: of(messages="hi", text=None), "this tokenizer has no chat template"),
]

ELSE: list[tuple[Callable[[], Any], str]] = [
    (lambda: attnscope.show(tiny.model("bert"), tiny.tokenizer(), "a", colour=1), r"show\(\) has no argument 'colour'"),
    (lambda: opened("bert"), "expected the model.*got str"),
    (lambda: opened(None), "expected the model.*got NoneType"),
    (lambda: opened(tiny.model("bert"), keep=3), "expected keep as names"),
    (lambda: opened(tiny.model("bert"), keep_passes="all"), "expected keep_passes as a number from 1 on, got 'all'"),
    (lambda: opened(tiny.model("bert"), keep_passes=0), "from 1 on, got 0"),
    (lambda: opened(tiny.model("bert"), layers=1.5), "expected layers as a number"),
    (lambda: opened(tiny.model("bert"), sites=3), "expected sites as module paths"),
    (lambda: compare(3, 4), "compare: expected two traces, got a int as the first"),
    *((lambda wrong=wrong: load_trace(wrong), "expected a path as a string or a Path") for wrong in (3, None, b"x")),
    (lambda: Trace.from_qkv(X, X, X, is_causal="yes"), f"is_causal is 'yes'; {FLAG}"),
    (lambda: Trace.from_qkv(X, X, X, names=7), "names as 1 strings, one a layer, got int"),
    (lambda: Trace.from_qkv(X, X, X, tokens=7), "expected tokens as a list of strings.*got int"),
    (lambda: Trace.from_qkv(None, X, X), "expected query as a tensor or an array of numbers, got NoneType"),
    (lambda: Trace.from_qkv(X, X, X, mask=torch.eye(5)), "mask holds 0 and 1 as floats"),
    (lambda: Trace.from_qkv(X, X, X, mask=torch.full((5, 5), NAN)), "mask holds NaN"),
    (lambda: Trace.from_qkv(X, X, X, sinks=torch.tensor([0.0, NAN])), "sinks holds NaN"),
    (lambda: Trace.from_qkv(X * 1j, X, X), "query has torch.complex64 numbers"),
    (lambda: Trace.from_qkv(X > 0, X, X), "query holds True and False; expected numbers"),
    (lambda: Trace.from_qkv(X, X, X, sinks=torch.ones(len(X)) > 0), "sinks is bool"),
    *(
        (lambda wrong=wrong: Trace.from_qkv(X, X, X, scaling=wrong), "as a finite number")
        for wrong in (NAN, 1 / 1e-320, "x")
    ),
    (lambda: check(3), "int cannot be called"),
    (lambda: check(ATTENTION, scaling=NAN), "scaling is nan; it is a finite number"),
    (lambda: check(ATTENTION, softcap="x"), "softcap is 'x'"),
    (lambda: check(ATTENTION, sinks="x"), "sinks is 'x'; it is a tensor"),
    (lambda: check(ATTENTION, causal="x"), "causal is 'x'; it is True"),
    (lambda: check(ATTENTION, like=3), "like is 3"),
    (lambda: check(ATTENTION, cached=3), "cached is 3"),
    (lambda: check(ATTENTION, model=3), "model is 3"),
    (lambda: check(ATTENTION, hint="x"), "hint is 'x'; it is 1"),
    (lambda: check(ATTENTION, strict="no"), f"strict is 'no'; {FLAG}"),
    (lambda: check(ATTENTION, allow_uncompared="no"), f"allow_uncompared is 'no'; {FLAG}"),
    (lambda: check(tiny.model("bert"), 7, "a"), "expected a tokenizer as the second argument, got int"),
    (lambda: check(tiny.model("bert"), tiny.tokenizer(), 7), "text: expected one string, or a list of strings"),
    (lambda: check(tiny.model("bert"), tiny.tokenizer(), inputs=[1]), "inputs: expected a dictionary"),
]

SHOW: list[tuple[dict[str, Any], str]] = [
    *(({"level": wrong}, "is not one of 'stream', 'model'") for wrong in (3, None, "atoms")),
    *(({"layer": wrong}, "expected layer as a number or a name") for wrong in ("two", 1.5, [1])),
    *(({"head": wrong}, "expected a head as a number or a name") for wrong in (1.5, [1], "x")),
    *(({"query": wrong}, "expected query as a position or a token") for wrong in (1.5, True, [1])),
    ({"key": [1]}, "expected key as a position or a token"),
    ({"layer": 9}, "layer 9 is out of range"),
    ({"head": 99}, "head 99 is out of range"),
    ({"query": 99}, "query 99 is out of range"),
    ({"query": "xyz"}, 'query "xyz" is not among the tokens'),
    ({"stack": 3}, "there is no stack 3"),
    *(({"theme": wrong}, "is not one of 'auto'") for wrong in ("pink", 3, [3])),
    ({"static": "no"}, f"static is 'no'; {FLAG}"),
    ({"exact": "no"}, f"exact is 'no'; {FLAG}"),
    *(({"max_mb": wrong}, "in MB, so it must be a number above 0") for wrong in ("12", None, NAN, 0, -1, True, 1j)),
    *(({"steps": wrong}, "it is one of 'head', 'all', 'none'") for wrong in ("some", ["head"])),
    *(({"heads": wrong}, "it is a sequence of numbers") for wrong in (3, "12")),
    ({"heads": [99]}, "heads: head 99 is out of range"),
    ({"queries": [99]}, "queries: query 99 is out of range"),
    ({"average": 3}, "average 3 is not one of"),
    ({"combine": None}, "combine None is not one of"),
    *(({"threshold": wrong}, "it is a weight, from 0 to 1") for wrong in ("0.1", 3, True, NAN)),
    ({"quantity": "logits"}, "quantity 'logits' is not one of"),
    ({"log": "yes"}, FLAG),
    ({"words": 1}, FLAG),
    ({"special": True}, "special True is not one of"),
    *(({"sort": wrong}, "it is one of 'layer', 'entropy'") for wrong in ("size", 3)),
    ({"thumbs": "x"}, "thumbs 'x' is not one of"),
    ({"filter": "ac"}, "filter 'ac' is not one of"),
    ({"dim": "3"}, "dim is '3'"),
    ({"level": "steps", "dim": 99}, "dim 99 is out of range"),
]


@pytest.mark.parametrize(("call", "message"), [*TRACE, *ELSE])
def test_a_call(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(attnscope.AttnscopeError, match=message) as caught:
        call()
    assert isinstance(caught.value, InputError | attnscope.CaptureError)


@pytest.mark.parametrize(("given", "message"), SHOW)
def test_a_view(given: dict[str, Any], message: str, known: Trace) -> None:
    with pytest.raises(InputError, match=message):
        known.show(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"side": "c"}, "side 'c' is not one of"),
        ({"heads": [99]}, "heads: head 99"),
        ({"sort": "size"}, "sort is 'size'"),
        ({"static": "no"}, FLAG),
        ({"colour": 1}, "no argument 'colour'"),
    ],
)
def test_a_view_of_two(given: dict[str, Any], message: str, known: Trace) -> None:
    with pytest.raises(InputError, match=message):
        compare(known, known).show(**given)


def test_methods_of_a_trace(known: Trace, tmp_path: Any) -> None:
    for call, message in (
        (lambda: known.save(3), "expected a path"),
        (lambda: known.save(tmp_path / "t", projections="no"), f"projections is 'no'; {FLAG}"),
        (lambda: known.verify(full="no"), f"full is 'no'; {FLAG}"),
        (lambda: known.site(1.5), "expected layer as a number"),
        (lambda: View.from_url(3, known), "expected the address of a page as text, got int"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_another_models_tokenizer_is_noted_and_a_padded_vocabulary_is_not() -> None:
    from tiny_tokenizers import begins

    tokenizer = begins()  # <s> is 2, </s> is 3, <pad> is 1

    def notes(**config: Any) -> list[str]:
        made = trace(tiny.fresh_model("llama", **config), tokenizer, "the cat")
        return [note for note in made.notes if "another model's" in note]

    assert notes() == []  # as its own
    assert notes(vocab_size=1009) == []  # padded
    assert notes(bos_token_id=7) == []  # one of two: chats end otherwise than their model says
    (note,) = notes(bos_token_id=7, eos_token_id=11, pad_token_id=13)
    assert "its begin token is id 2, and the model's 7; its end token is id 3, and the model's 11" in note
    (note,) = notes(vocab_size=60)  # smaller than the tokenizer, though these ids are within it
    assert f"it has {tokenizer.vocab_size} entries, and the model's vocabulary 60" in note


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rounding_is_said_only_where_something_is_rounded(dtype: torch.dtype) -> None:
    x = [torch.randn(3, 2, 101, 16, generator=torch.Generator().manual_seed(n)).to(dtype) for n in range(3)]
    view = Trace.from_qkv(*x).show(max_mb=0.07)
    assert any("This view holds" in note for note in view.notes)
    assert any("rounded to 16 bits" in note for note in view.notes) == (dtype == torch.float32)
    assert all(block.data for block in view.blocks)
