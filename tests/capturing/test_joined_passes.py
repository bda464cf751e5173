"""The passes of a generation as one trace: equal to one pass over prompt and answer."""

from dataclasses import replace

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope import Tokens, Trace
from attnscope.capturing.joined_passes import joined_passes
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.site import Site
from closeness import close

GREEDY = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


def assert_equal(joined: Trace, whole: Trace, first: int = 0) -> None:
    """`first`: before it there is padding, whose positions generate() chooses."""
    assert joined.verify().passed
    for mine, theirs in zip(joined.sites, whole.sites, strict=True):
        assert (mine.queries, mine.keys, mine.query_offset) == (theirs.queries, theirs.keys, theirs.query_offset)
        rows = torch.arange(mine.queries)
        assert torch.equal(mine.mask.allowed(rows, mine.keys), theirs.mask.allowed(rows, theirs.keys))
        assert mine.mask.packed is None
        for name in ("q", "k", "v"):
            assert close(getattr(mine, name)[:, first:], getattr(theirs, name)[:, first:]), name
        assert close(mine.weights()[:, first:], theirs.weights()[:, first:])
        assert close(mine.write(0)[first:], theirs.write(0)[first:])


@pytest.mark.exactness
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_a_generation_is_one_trace(name: str) -> None:
    """gemma2 and mistral have windows, of which the cache drops what is left behind."""
    model = tiny.model(name, "eager" if name == "gemma2" else "sdpa")
    read = tiny.ids(1, 11)
    with attnscope.capture(model, keep_passes=9) as recorder:
        text = model.generate(read, **GREEDY)
    joined = recorder.trace(input_ids=text[:, :-1], forward=slice(None))
    assert_equal(joined, attnscope.trace(model, inputs={"input_ids": text[:, :-1]}))
    assert joined.tokens.border == 11
    assert joined.notes[-1] == "5 passes through the cache as one: 11 tokens, then 4."
    steps = recorder.trace(input_ids=text[:, :-1], forward=slice(2, None))
    assert [site.queries for site in steps.sites] == [3, 3]
    assert close(steps.sites[1].weights(), joined.sites[1].weights()[:, -3:])


@pytest.mark.exactness
def test_rows_of_a_batch_and_beams_by_index() -> None:
    model, read = tiny.model("llama", "sdpa"), tiny.ids(3, 7, seed=5)
    mask = torch.ones_like(read)
    mask[1, :2] = 0  # padded on the left
    with attnscope.capture(model, keep_passes=9) as recorder:
        text = model.generate(read, attention_mask=mask, **GREEDY)
    for row in (1, -1):
        inputs = {"input_ids": text[row : row + 1 or None, :-1]}
        inputs["attention_mask"] = torch.cat([mask[row], torch.ones(4)])[None].long()
        ids = torch.tensor([text[row, :-1].tolist()])
        position = (inputs["attention_mask"].cumsum(-1) - 1).clamp_min(0)
        with attnscope.capture(model) as plain:
            model(**inputs, position_ids=position)
        joined = recorder.trace(input_ids=text[:, :-1], index=row, forward=slice(None))
        assert_equal(joined, plain.trace(input_ids=ids), first=2 if row == 1 else 0)
    with attnscope.capture(model, keep_passes=9) as recorder:
        found = model.generate(read[:1], num_beams=2, return_dict_in_generate=True, output_scores=True, **GREEDY)
    seen = set()
    for row in range(2):
        joined = recorder.trace(index=row, forward=slice(None))
        ids = ids_of(model, joined)
        seen.add(tuple(ids))
        assert ids[:7] == read[0].tolist()
        assert_equal(joined, attnscope.trace(model, inputs={"input_ids": torch.tensor([ids])}))
    assert tuple(found.sequences[0, :-1].tolist()) in seen


def ids_of(model: torch.nn.Module, trace: Trace) -> list[int]:
    """Which ids a trace was of: by the values of the first layer, which follow from a token alone."""
    layer = model.model.layers[0]
    with torch.no_grad():
        every = layer.self_attn.v_proj(layer.input_layernorm(model.model.embed_tokens.weight))
    mine = trace.sites[0].v.transpose(0, 1).flatten(1)
    return torch.cdist(mine, every).argmin(-1).tolist()


def test_a_position_bias_is_not_joined() -> None:
    site = Site(*(torch.randn(2, 3, 5) for _ in "qkv"), 1.0, position_bias=BiasRule(cells=torch.zeros(1, 3, 3)))
    trace = Trace((site,), Tokens(tuple("abc")))
    longer = [torch.cat([x, x[:, :1]], 1) for x in (site.k, site.v)]
    step = Trace((replace(site, q=site.q[:, :1], k=longer[0], v=longer[1]),), Tokens(tuple("abcd")))
    with pytest.raises(
        CaptureError, match="layer 0 adds a position bias to its scores, and passes with one are not joined"
    ):
        joined_passes(lambda number, row: (trace, step)[number], range(2), 0, 1)


def test_passes_that_are_no_generation() -> None:
    model = tiny.model("llama", "sdpa")
    with attnscope.capture(model, keep_passes=4) as recorder:
        model(tiny.ids(1, 5))
        model(tiny.ids(1, 7, seed=2))
    with pytest.raises(CaptureError, match="pass 0 cannot be joined with the one after it"):
        recorder.trace(forward=slice(None))
    assert recorder.trace(forward=slice(1, 2)).sites[0].queries == 7
    with pytest.raises(InputError, match=r"forward slice\(3, None, None\) joins no passes: 2 are kept"):
        recorder.trace(forward=slice(3, None))
