"""The scores of weights beside roles: of every head, and without those of tokens where a layer stands between embedding and heads."""

import numpy as np
import pytest

import attnscope
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


def test_heads_of_images_have_those_without_tokens() -> None:
    from transformers import ViTImageProcessor

    size = model("vit").config.image_size
    processor = ViTImageProcessor(size={"height": size, "width": size})
    pictures = [np.random.default_rng(seed).integers(0, 255, (41, 43, 3), np.uint8) for seed in range(2)]
    table = attnscope.roles(model("vit"), processor, corpus=pictures)
    trace = attnscope.trace(model("vit"), processor, image=pictures[0], keep={"projections"})
    expected = {(row.layer, row.head): row for row in trace.statistics(["copying", "query_key"])}
    assert len(table.by_head) >= len(expected)
    for row in table.by_head:
        measures = dict(row.measures)
        assert {name: measures[name] for name in ("copying", "query_key")} == pytest.approx(
            {name: expected[row.layer, row.head][name] for name in ("copying", "query_key")}
        )
        assert not any(name.endswith("tokens") for name in measures)
