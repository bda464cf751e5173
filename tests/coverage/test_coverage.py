"""Architectures built small: what is popular stays as good as docs/coverage.md says, and a row can get worse."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from click.testing import CliRunner
from torch import nn

import attnscope
from attnscope.cli import main
from attnscope.coverage.examine import Row, _row, examine
from attnscope.coverage.feed import NoInputs, feed
from attnscope.coverage.shrink import Sizes, shrink
from attnscope.coverage.softmaxes import passed_over
from attnscope.coverage.table import labels_of, line, page, worse
from attnscope.coverage.types import POPULAR, all_types, class_name
from attnscope.views.levels import ALWAYS_THERE as LEVELS

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


@pytest.mark.exactness
@pytest.mark.source
@pytest.mark.parametrize("start", range(4))
def test_popular_architectures_are_no_worse_than_the_page_says(start: int) -> None:
    written = PAGE.read_text(encoding="utf-8")
    before, own_release = labels_of(written), f"transformers {transformers.__version__} " in written
    rows = [examine(name) for name in POPULAR[start::4] if own_release or name in transformers.CONFIG_MAPPING]
    if not own_release:  # the small sizes are those of the page's release: an older one may not be built with them
        rows = [row for row in rows if row.label != "not built"]
        assert len(rows) > 8
    assert [(row.model_type, row.label, row.note) for row in rows if worse(row.label, before[row.model_type])] == []
    assert [(row.model_type, row.note) for row in rows if "show()" in row.note] == []


@pytest.mark.source
def test_the_page_has_a_row_for_every_type() -> None:
    before = labels_of(PAGE.read_text(encoding="utf-8"))
    assert set(POPULAR) <= set(before)
    assert before["bert"] == "exact"
    assert before["resnet"] == "not attention"
    attends = [label for label in before.values() if label not in ("not attention", "not built")]
    assert [name for name in POPULAR if before[name] in ("differs", "nothing")] == []
    assert len(attends) > 300


def test_a_row_gets_worse_where_attention_gives_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert examine("mistral").label == "exact"
    # Half of what the recorded q, k and v give: no weights make this output.
    interface = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: interface(*a, **k) / 2)
    row = examine("mistral")
    assert row.label == "differs"
    assert worse(row.label, "exact")
    assert not worse("exact", "weights only")


def test_labels_of_kinds() -> None:
    weights = attnscope.Trace.from_attentions([torch.rand(1, 2, 3, 3).softmax(-1)], ["a", "b", "c"])
    model = nn.Sequential(nn.MultiheadAttention(6, 2))
    assert _row("a", "A", model, weights, "").label == "weights only"
    part = replace(weights, sites=(replace(weights.sites[0], path="0"),))
    assert _row("a", "A", model, part, "").bypassed == ("MultiheadAttention",)
    assert examine("resnet").label == "not attention"
    assert examine("t5").extras == ("position bias", "cross")
    assert "sinks" in examine("gpt_oss").extras
    missing = examine("timm_backbone")
    assert (missing.label, "timm" in missing.note) == ("not built", True)


def test_pieces_other_mixers_and_pages() -> None:
    banded, recurrence, hybrid = examine("longformer"), examine("rwkv"), examine("kimi_linear")
    assert (banded.label, banded.bypassed) == ("exact", ())
    assert (recurrence.label, "RwkvSelfAttention" in recurrence.note) == ("not attention", True)
    assert (hybrid.label, "KimiLinearDeltaAttention" in hybrid.note) == ("exact", True)
    assert "Mixer" in examine("mamba").note
    assert examine("clip").opens == len(LEVELS) + 2  # one of each level, and one of each tower
    assert examine("inkling2_text").label == "exact"


def test_softmaxes_are_counted_by_the_module_that_makes_them() -> None:
    class TwoSoftmaxesAttention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = (x @ x.mT).softmax(-1) @ x
            return first + torch.nn.functional.softmax(x @ x.mT, dim=-1).relu() @ x + x.softmax(1)

    model = nn.Sequential(TwoSoftmaxesAttention())
    trace = attnscope.Trace.from_attentions([torch.rand(1, 2, 3, 3).softmax(-1)], ["a", "b", "c"])
    trace = replace(trace, sites=(replace(trace.sites[0], path="0"),))
    assert passed_over(model, {"input": torch.randn(1, 3, 4)}, trace) == {"0": "1 of 2 softmaxes"}
    twice = replace(trace, sites=(trace.sites[0], replace(trace.sites[0], layer=1, call=1)))
    assert passed_over(model, {"input": torch.randn(1, 3, 4)}, twice) == {}
    assert passed_over(nn.Sequential(), {"input": torch.randn(1, 3, 4)}, trace) == {}


@pytest.mark.parametrize(
    "name",
    [
        "audioflamingo3_encoder",
        "blip_2_qformer",
        "granite_speech5_encoder",
        "kosmos-2",
        "lightglue",
        "siglip2_vision_model",
        "timesfm",
    ],
)
def test_inputs_that_a_message_only_hints_at(name: str) -> None:
    assert examine(name).label == "exact"


def test_small_is_small_and_of_every_kind_of_layer() -> None:
    from transformers import CONFIG_MAPPING

    config = shrink(CONFIG_MAPPING["gemma3_text"], Sizes(width=48))
    assert (config.hidden_size, config.vocab_size, config.head_dim) == (48, 256, 12)
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    assert config.num_hidden_layers == len(config.layer_types)
    ids = [
        x for x in vars(shrink(CONFIG_MAPPING["llava"])).items() if x[0].endswith("token_index") and x[1] is not None
    ]
    assert all(0 <= value < 256 for _, value in ids)


def test_a_model_that_takes_nothing_says_why() -> None:
    class Refuses(nn.Module):
        main_input_name, config = "input_ids", type("Config", (), {"vocab_size": 97})()

        def forward(self, input_ids: torch.Tensor) -> None:
            raise ValueError("never")

    with pytest.raises(NoInputs, match="ValueError: never"):
        feed(Refuses())


def test_the_page_reads_back() -> None:
    rows = [
        Row("a_1", "AModel", "exact", 2, ("sinks",), 3e-7),
        Row("b-2", "BModel", "weights only", 5, (), 0.0, ("B_Attention",)),
        Row("c", "CModel", "not built", note="needs a|b"),
    ]
    written = page(rows, "5.23.0")
    assert labels_of(written) == {"a_1": "exact", "b-2": "weights only", "c": "not built"}
    assert "1 exact, 1 weights only, 1 not built" in written
    assert "Of the 2 that attend and could be built, 50.0% are exact and 100.0% at least weights only." in written
    assert line(rows[2]).endswith(r"| needs a\|b |")
    again = page([Row("c", "CModel", "exact", 1)], "5.23.0", before=written)
    assert labels_of(again) == {"a_1": "exact", "b-2": "weights only", "c": "exact"}
    assert "2 exact, 1 weights only." in again
    assert page(rows, "5.23.0", before=again) == written


def test_the_command() -> None:
    done = CliRunner().invoke(main, ["coverage", "-q", "--model-type", "gpt2"])
    assert done.exit_code == 0
    assert done.stdout.startswith("| gpt2 | GPT2Model | exact | 2 |")
    refused = CliRunner().invoke(main, ["coverage", "-q", "--model-type", "gpt5"])
    assert refused.exit_code == 2
    assert "has no type gpt5" in refused.stderr


def test_types() -> None:
    assert class_name("bert") == "BertModel"
    assert class_name("siglip_text_model") is None
    assert len(set(POPULAR)) == len(POPULAR)
    assert set(POPULAR) <= set(all_types())
