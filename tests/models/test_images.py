"""trace(model, processor, image): the processor's pixels, the picture of what the model saw, and the grid of patches."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import attnscope
import tiny_models as tiny
from attnscope.errors import InputError, LoadError
from attnscope.models.images import MOST, pictures_of
from attnscope.tracing.grids import PatchGrid

HIGH, WIDE, SIDE = 15, 25, 5  # three rows and five columns of patches


@pytest.fixture(scope="module")
def model() -> Any:
    config = transformers.ViTConfig(
        hidden_size=22,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=29,
        image_size=(HIGH, WIDE),
        patch_size=SIDE,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = transformers.ViTModel(config, add_pooling_layer=False)
        tiny.spread(made)
    return made.eval()


def _processor(**options: Any) -> Any:
    size = {"height": HIGH, "width": WIDE}
    return transformers.ViTImageProcessor(size=size, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.5], **options)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Every pixel another colour, [rows, columns, 3]."""
    return np.random.default_rng(1).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)


def _seen(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_the_picture_is_what_the_model_saw(model: Any, pixels: np.ndarray) -> None:
    trace = attnscope.trace(model, _processor(), pixels)
    (grid,) = trace.tokens.grids
    assert (grid.rows, grid.columns) == (3, 5)
    assert [trace.tokens[i] for i in grid.tokens] == [f"patch {r},{c}" for r in range(3) for c in range(5)]
    assert trace.tokens.special == (True,) + (False,) * 15
    assert np.abs(_seen(grid.png).astype(int) - pixels).max() <= 1, "mean and deviation were taken back"
    expected = attnscope.trace(model, None, inputs=_processor()(pixels, return_tensors="pt"))
    assert torch.equal(trace.sites[1].weights(), expected.sites[1].weights())
    assert expected.tokens.grids[0] == PatchGrid(3, 5, grid.tokens), "no processor tells what the pixels were"


def test_an_image_in_every_form(model: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(tmp_path / "picture.png")
    expected = attnscope.trace(model, _processor(), pixels).sites[0].q
    forms: list[Any] = [
        Image.fromarray(pixels),
        tmp_path / "picture.png",
        str(tmp_path / "picture.png"),
        pixels / 255,
        torch.from_numpy(pixels).movedim(-1, 0),
    ]
    for image in forms:
        assert torch.allclose(attnscope.trace(model, _processor(), image).sites[0].q, expected, atol=1e-5)
        assert torch.allclose(attnscope.trace(model, _processor(), image=image).sites[0].q, expected, atol=1e-5)


def test_a_path_is_written_down_as_python(model: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(tmp_path / "picture.png")
    named = attnscope.trace(model, _processor(), tmp_path / "picture.png")
    assert named.source == {"image": str(tmp_path / "picture.png")}
    assert attnscope.trace(model, _processor(), pixels).source == {"inputs": True}
    code = named.show(layer=0).code
    assert f'image="{tmp_path / "picture.png"}"' in code
    assert "text" not in code


def test_a_pipeline_has_its_own_processor(model: Any, pixels: np.ndarray) -> None:
    pipe = transformers.pipeline("image-feature-extraction", model=model, image_processor=_processor())
    trace = attnscope.trace(pipe, image=pixels)
    assert trace.tokens == attnscope.trace(model, _processor(), pixels).tokens
    assert trace.tokens.grids[0].png


def test_pixels_left_over_of_whole_patches_are_cut_off(model: Any) -> None:
    shown = torch.rand(1, 3, 17, 26)
    (png,) = pictures_of(model, _processor(do_normalize=False), {"pixel_values": shown})
    assert _seen(png).shape == (15, 25, 3)


def test_a_large_photograph_is_kept_small(model: Any) -> None:
    noise = torch.from_numpy(np.random.default_rng(0).random((1, 3, 601, 397), np.float32))
    (png,) = pictures_of(model, _processor(do_normalize=False), {"pixel_values": noise})
    assert 40_000 < len(png) <= MOST
    high, wide, _ = _seen(png).shape
    assert high / wide == pytest.approx(601 / 397, rel=0.02)


def test_a_saved_trace_has_the_picture(model: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    trace = attnscope.trace(model, _processor(), pixels)
    trace.save(tmp_path / "trace.safetensors")
    assert attnscope.load_trace(tmp_path / "trace.safetensors").tokens == trace.tokens


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4, 3), 256.0), "pixels from 0 to 255"),
        (np.full((4, 4, 3), -0.1), "floats from 0 to 1, got -0.1"),
        (np.zeros((2, 4, 4, 3)), r"one image.*\[2, 4, 4, 3\]"),
        (Path("no/such.png"), "no/such.png' could not be read"),
    ],
)
def test_what_is_no_image(model: Any, image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        attnscope.trace(model, _processor(), image)


def test_an_image_without_a_processor(model: Any, pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match="the model's processor as the second argument, and none was given"):
        attnscope.trace(model, None, pixels)
    with pytest.raises(InputError, match="stands alone or beside a text"):
        attnscope.trace(model, _processor(), image=pixels, inputs={"pixel_values": torch.zeros(1, 3, HIGH, WIDE)})


def test_load_gives_the_processor(model: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    _processor().save_pretrained(tmp_path)
    loaded, processor = attnscope.load(tmp_path)
    trace = attnscope.trace(loaded, processor, pixels)
    assert trace.tokens == attnscope.trace(model, _processor(), pixels).tokens


def test_an_empty_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny.model("bert", "sdpa").save_pretrained(tmp_path)
    with pytest.raises(LoadError, match=r"the tokenizer in .* is empty: it knows 5 special tokens and no word"):
        attnscope.load(tmp_path)
