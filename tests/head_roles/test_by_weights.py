"""The scores of weights beside roles: of every head, and without those of tokens where a layer stands between embedding and heads."""

import pytest

from attnscope.head_roles.by_weights import scores_by_head
from attnscope.head_roles.texts import Text
from tiny_models import model

TEXT = Text({"input_ids": [5, 17, 42, 11, 23]}, (False,) * 5, "one")


@pytest.mark.parametrize(("kind", "of_tokens"), [("bert", True), ("albert", False), ("electra", False)])
def test_every_head_has_scores(kind: str, of_tokens: bool) -> None:
    scores = scores_by_head(model(kind), [TEXT])
    names = {name for row in scores.values() for name, _ in row}
    assert {layer for layer, _ in scores} == {*range(model(kind).config.num_hidden_layers)}
    assert {"copying", "query_key"} <= names
    assert any(name.endswith("tokens") for name in names) == of_tokens, names
