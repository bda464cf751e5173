"""roles(ablate=…): what the model loses without the heads that have a role; and the text itself as a target."""

from typing import Any

import pytest
import torch

import attnscope
import known_heads
from attnscope.api.ablation import TEXTS
from attnscope.errors import InputError
from attnscope.head_effects.asked import OwnTokens
from attnscope.head_roles.tasks import INDUCTION
from tiny_models import ids, inputs, model

pytestmark = pytest.mark.exactness


@pytest.fixture(scope="module")
def shipped() -> Any:
    return known_heads.model(), known_heads.tokenizer()


def loss(m: Any, x: torch.Tensor, first: int = 1) -> float:
    with torch.no_grad():
        logs = m(input_ids=x).logits[0, first - 1 : -1].log_softmax(-1)
    return -float(logs[torch.arange(len(logs)), x[0, first:]].mean())


@pytest.mark.parametrize("first", [1, 6])
def test_the_text_itself(first: int) -> None:
    m, x = model("llama"), ids(1, 13)
    table = attnscope.effects(m, None, {"input_ids": x}, OwnTokens(first), how="off")
    assert table.clean[0] == pytest.approx(-loss(m, x, first), abs=1e-5)
    with attnscope.edit(m) as edit:
        edit.head("L1H4").off()
        edited = loss(m, x, first)
    assert table["L1H4"].effect == pytest.approx(edited - loss(m, x, first), abs=1e-5)
    whole = attnscope.effects(m, None, {"input_ids": x}, how="off", layers=1)
    assert "the text itself" in str(whole)
    assert (whole["L1H4"].effect == pytest.approx(table["L1H4"].effect, abs=1e-5)) == (first == 1)


@pytest.mark.parametrize("kind", ["bert_fills", "t5_generates"])
def test_the_text_itself_is_a_target_of_causal_models(kind: str) -> None:
    with pytest.raises(InputError, match="the text itself is no target"):
        attnscope.effects(model(kind), None, inputs(kind), how="off")


def test_a_text_of_one_token() -> None:
    with pytest.raises(InputError, match="nothing comes after it"):
        attnscope.effects(model("llama"), None, {"input_ids": ids(1, 1)}, how="off")


def test_the_columns_of_a_table_of_roles(shipped: Any, tmp_path: Any) -> None:
    path = tmp_path / "toy.conllu"
    path.write_text(known_heads.treebank(40), encoding="utf-8")
    table = attnscope.roles(*shipped, treebank=str(path), ablate="off")
    assert isinstance(table, attnscope.RoleTable)
    claimed = {(row.name, row.relation): row for row in table.claimed}
    # of all heads only L0H0 writes anything: every other effect is 0, whatever the head looks at
    assert all(row.effect is not None for row in claimed.values())
    assert {name for (name, _), row in claimed.items() if abs(row.effect or 0.0) > 1e-5} <= {"L0H0"}
    row = next(row for (name, _), row in claimed.items() if name == "L0H0")
    assert (row.band_low, row.band_high) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert abs(row.effect or 0.0) > 1e-4
    assert "outside of the band of other heads" in str(table)
    assert [record["effect"] for record in table.records()] == [row.effect for row in table.rows]
    induction = next(row for row in table.rows if row.task == INDUCTION)
    assert induction.effect == pytest.approx(0, abs=1e-6)
    assert any(f"{TEXTS} sequences of random tokens" in note for note in table.notes)


def test_what_cannot_be_ablated(shipped: Any) -> None:
    with pytest.raises(InputError, match="expected ablate"):
        attnscope.roles(shipped[0], shipped[1], ["a cat sat"], ablate="median")
    with pytest.raises(InputError, match="loss of a causal language model"):
        attnscope.roles(model("vit"), None, [], ablate="mean")
