"""Images beside a text: which tokens are patches, and where each lies; the picture reaches the text and the vision tower."""

import io
from typing import Any

import numpy as np
import pytest
import torch
import transformers as T

import attnscope
import tiny_models as tiny
from attnscope.models.image_tokens import with_image_tokens
from attnscope.models.images import pictures_of
from attnscope.tracing.tokens import Tokens
from tiny_tokenizers import begins

TEXT = {
    "vocab_size": 97,
    "hidden_size": 28,
    "intermediate_size": 29,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
VISION = {
    "hidden_size": 26,
    "intermediate_size": 31,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}


def _seen(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.fixture(scope="module")
def llava() -> tuple[Any, Any]:
    tokenizer = begins(known=("<image>",))
    image = tokenizer.convert_tokens_to_ids("<image>")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = T.LlavaForConditionalGeneration(
            T.LlavaConfig(
                vision_config=T.CLIPVisionConfig(**VISION),
                text_config=T.LlamaConfig(**TEXT),
                image_token_id=image,
                vision_feature_layer=-1,
            )
        ).eval()
        tiny.spread(model)
    size = {"height": 28, "width": 28}
    processor = T.LlavaProcessor(
        T.CLIPImageProcessor(size=size, crop_size=size),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    return model, processor


def test_the_patches_in_a_text_have_names_places_and_the_picture(llava: tuple[Any, Any]) -> None:
    model, processor = llava
    pixels = np.random.default_rng(3).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    trace = attnscope.trace(model, processor, "the cat <image> sat", image=pixels)
    assert trace.verify()
    (grid,) = trace.tokens.grids
    assert (grid.rows, grid.columns, grid.tokens[0]) == (4, 4, 3)
    assert trace.tokens.shown[:3] + trace.tokens.shown[-1:] == ("<s>", "the", "cat", "sat")
    assert [trace.tokens.shown[i] for i in grid.tokens] == [f"patch {r},{c}" for r in range(4) for c in range(4)]
    assert not any(trace.tokens.special[i] for i in grid.tokens), "hiding special tokens leaves the image"
    assert trace.tokens.find("patch 2,1") == 3 + 9
    assert np.abs(_seen(grid.png).astype(int) - pixels).max() <= 1
    tower = trace.site(0, "vision")
    assert trace.query_tokens(tower).grids[0].png == grid.png
    assert "</html>" in trace.show(stack="language_model").html


def test_generated_words_come_after_the_image(llava: tuple[Any, Any]) -> None:
    model, processor = llava
    pixels = np.zeros((28, 28, 3), np.uint8)
    trace = attnscope.trace(model, processor, "the <image> cat", image=pixels, generate=3)
    assert trace.tokens.border == 19
    assert trace.tokens.grids[0].tokens == tuple(range(2, 18))


def test_patches_that_were_joined_by_squares() -> None:
    """Qwen2-VL: two images of 4 × 6 and 4 × 4 patches, of which four become one token; its rows are in squares."""
    model = T.Qwen2VLModel(
        T.Qwen2VLConfig(
            text_config={
                **TEXT,
                "hidden_size": 32,
                "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2]},
            },
            vision_config={
                "depth": 1,
                "embed_dim": 32,
                "hidden_size": 32,
                "num_heads": 2,
                "mlp_ratio": 2,
                "patch_size": 4,
            },
            image_token_id=96,
        )
    )
    processor = T.Qwen2VLImageProcessor(patch_size=4, min_pixels=1, max_pixels=10**6)
    pixels = np.random.default_rng(4).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    made = processor([pixels, pixels], return_tensors="pt")
    assert made["image_grid_thw"].tolist() == [[1, 4, 6]] * 2
    first, second = pictures_of(model, processor, made)
    assert np.abs(_seen(first).astype(int) - pixels).max() <= 1
    assert first == second
    named = Tokens(("a", *("#96",) * 6, "b", *("#96",) * 4), ids=(1, *(96,) * 6, 2, *(96,) * 4))
    sizes = {"image_grid_thw": torch.tensor([[1, 4, 6], [1, 4, 4]])}
    grids = with_image_tokens(model, named, sizes).grids
    assert [(one.rows, one.columns, one.tokens[0]) for one in grids] == [(2, 3, 1), (2, 2, 8)]


@pytest.mark.parametrize(
    ("ids", "shape"),
    [
        ((1, *(9,) * 17), (1, 3, 28, 28)),  # CLS among them
        ((1, *(9,) * 4), (1, 3, 28, 28)),  # joined by a model whose order is not known
        ((1, *(9,) * 8, 2, *(9,) * 8), (1, 3, 28, 28)),  # something between the rows
    ],
)
def test_where_the_rows_are_not_known_nothing_is_laid_out(llava: tuple[Any, Any], ids: Any, shape: Any) -> None:
    image = llava[0].config.image_token_id
    ids = tuple(image if one == 9 else one for one in ids)
    named = Tokens(tuple(map(str, ids)), ids=ids)
    assert with_image_tokens(llava[0], named, {"pixel_values": torch.zeros(shape)}) == named
