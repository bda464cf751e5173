"""DINOv2-small on a drawn picture: patches as tokens, the model's own weights."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import attnscope
from attnscope.views.levels import REGISTRY
from real_models import images, picture

pytestmark = [pytest.mark.exactness, pytest.mark.slow]


@pytest.fixture(scope="module")
def looked() -> tuple[attnscope.Trace, torch.Tensor]:
    """A trace of a red disc and a blue square on white, and the pixels."""
    model, processor = images()
    pixels = processor(picture(), return_tensors="pt")["pixel_values"]
    return attnscope.trace(model, processor, picture()), pixels


def test_patches_are_named_by_row_and_column(looked) -> None:
    trace, _ = looked
    assert trace.tokens.strings[0] == "[CLS]"
    assert trace.tokens.strings[1:] == tuple(f"patch {row},{column}" for row in range(16) for column in range(16))


def test_the_picture_is_what_the_model_saw(looked) -> None:
    trace, _ = looked
    (grid,) = trace.tokens.grids
    seen = np.asarray(Image.open(io.BytesIO(grid.png)).convert("RGB"))
    assert seen.shape == (224, 224, 3)
    assert (seen[60, 60] > (250, -1, -1)).all()
    assert (seen[60, 60] < (256, 5, 5)).all(), "the middle of the disc is red"
    assert (seen[170, 160] == (0, 0, 255)).all(), "and that of the square blue"


def test_weights_equal_eagers(looked) -> None:
    trace, pixels = looked
    model, _ = images()
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            expected = model(pixels, output_attentions=True).attentions
    finally:
        model.set_attn_implementation("sdpa")
    assert trace.verify()
    for layer in (0, 5, 11):
        torch.testing.assert_close(trace.site(layer).weights(), expected[layer][0], rtol=0, atol=1e-4)


def test_a_patch_of_the_disc_looks_at_the_disc_more_than_at_the_square(looked) -> None:
    trace, _ = looked
    grid = np.arange(1, 257).reshape(16, 16)
    disc, square = (torch.from_numpy(part.ravel()) for part in (grid[3:6, 3:6], grid[11:14, 10:13]))
    weights = trace.site(11).weights()[:, grid[4, 4]]
    assert float(weights[:, disc].sum(-1).mean()) > 2 * float(weights[:, square].sum(-1).mean())


@pytest.mark.parametrize("level", [one.name for one in REGISTRY if one.name != "stream"])
def test_every_level_opens(looked, level: str) -> None:
    assert "</html>" in looked[0].show(static=True, level=level).html
