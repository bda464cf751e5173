"""DINOv2-small: heads that look near by, and heads that rest on [CLS], against transformers' own eager weights."""

import numpy as np
import pytest
import torch
from PIL import Image

import attnscope
from attnscope.errors import InputError
from real_models import images, picture

pytestmark = [pytest.mark.exactness, pytest.mark.slow]


def album():
    """Drawn pictures on grounds of noise and of slopes of light."""
    draw = np.random.default_rng(5)
    slope = np.linspace(0, 255, 224)
    grounds = [
        draw.integers(0, 255, (224, 224, 3)),
        np.stack([np.broadcast_to(slope, (224, 224))] * 3, -1),
        np.stack([np.broadcast_to(slope[:, None], (224, 224))] * 3, -1),
    ]
    return [picture(), *(picture(Image.fromarray(ground.astype(np.uint8))) for ground in grounds)]


@pytest.fixture(scope="module")
def table():
    return attnscope.roles(*images(), corpus=album())


def test_rows_are_those_of_eager_weights(table):
    model, processor = images()
    near, cls, far, count = np.zeros((12, 6)), np.zeros((12, 6)), np.zeros((12, 6)), 0
    places = np.stack(np.divmod(np.arange(256), 16), 1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    chebyshev = np.abs(places[:, None] - places[None]).max(-1)
    model.set_attn_implementation("eager")
    try:
        for image in [album()[n] for n in (1, 3)]:  # the reported half: images are dealt out in turn
            with torch.no_grad():
                found = model(**processor(image, return_tensors="pt"), output_attentions=True).attentions
            weights = torch.stack(found)[:, 0].double().numpy()[:, :, 1:]  # [layers, heads, patches, keys]
            top = weights.argmax(-1)
            right = np.take_along_axis(chebyshev[None, None] <= 1, (top - 1).clip(0)[..., None], -1)[..., 0] & (top > 0)
            near += right.mean(-1)
            cls += weights[..., 0].mean(-1)
            among = weights[..., 1:]
            far += (among * apart).sum((-1, -2)) / among.sum((-1, -2))
            count += 1
    finally:
        model.set_attn_implementation("sdpa")
    rows = {(row.relation, row.layer, row.head): row for row in table.by_head}
    for layer in range(12):
        for head in range(6):
            row = rows["near patches", layer, head]
            assert row.n == 512
            assert row.accuracy == pytest.approx(near[layer, head] / count, abs=0.02)
            assert dict(row.measures)["patch_distance"] == pytest.approx(far[layer, head] / count, rel=0.05)
            assert rows["[CLS]", layer, head].weight == pytest.approx(cls[layer, head] / count, abs=1e-4)


def test_what_is_said(table):
    assert {row.relation for row in table} == {"near patches", "[CLS]"}, "this model has no registers"
    assert "It saw 4 images." in table.heading
    assert all(row.looked_at == 72 for row in table)


@pytest.mark.parametrize(("corpus", "message"), [(None, "got NoneType"), ([], "empty"), ([picture(), 3], "image 1")])
def test_a_corpus_that_is_none_is_refused(corpus, message):
    with pytest.raises(InputError, match=message):
        attnscope.roles(*images(), corpus=corpus)


def test_registers_have_a_row_where_a_model_has_them():
    from transformers import BitImageProcessor, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    torch.manual_seed(3)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 42, "patch_size": 14}
    model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=3)).eval()
    processor = BitImageProcessor(size={"height": 42, "width": 42}, do_center_crop=False)
    table = attnscope.roles(model, processor, corpus=album())
    (row,) = [row for row in table if row.relation == "registers"]
    assert row.n == 18  # nine patches of two images
    assert row.weight == pytest.approx(3 / 13, abs=0.02), "random weights are about even"
    assert not row.claimed
