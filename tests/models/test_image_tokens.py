"""Images beside a text: which tokens are patches, and where each lies; the picture reaches the text and the vision tower."""

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
import transformers as T

import attnscope
import tiny_models as tiny
from attnscope.errors import InputError
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


TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {% for part in m['content'] %}{% if part['type'] == 'image' %}<image> {% else %}"
    "{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}dog {% endif %}"
)


def test_an_image_in_a_chat_goes_through_the_processors_template(llava: tuple[Any, Any]) -> None:
    model, plain = llava
    processor = copy.copy(plain)
    processor.chat_template = TEMPLATE
    pixels = np.random.default_rng(3).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    chat = [{"role": "system", "content": "sat"}, {"role": "user", "content": "the cat"}]
    trace = attnscope.trace(model, processor, messages=chat, image=pixels)
    ids = plain(
        text="system sat user <image> the cat dog", images=pixels, return_tensors="pt", add_special_tokens=False
    )
    assert trace.tokens.ids == tuple(ids["input_ids"][0].tolist())
    assert trace.tokens.grids[0].png
    placed = [chat[0], {"role": "user", "content": [{"type": "text", "text": "the cat"}, {"type": "image"}]}]
    behind = attnscope.trace(model, processor, messages=placed, image=pixels)
    assert behind.tokens.grids[0].tokens[0] > trace.tokens.grids[0].tokens[0]
    answer = attnscope.trace(model, processor, messages=chat, image=pixels, generate=2)
    assert answer.tokens.border == len(trace.tokens), (
        "the generation prompt stands before the answer, and at the end of a question"
    )
    spoken = attnscope.trace(model, processor, messages=[*chat, {"role": "assistant", "content": "ran"}], image=pixels)
    assert spoken.tokens[-1] == "ran", "a chat that the model ended is read as it is"
    twice = [{"role": "user", "content": [{"type": "image"}, {"type": "image"}]}]
    for messages, said in (
        (twice, "places for 2"),
        ([{"role": "assistant", "content": "x"}], "a message of the user"),
        ([{"role": "user"}], "is not a message"),
    ):
        with pytest.raises(InputError, match=said):
            attnscope.trace(model, processor, messages=messages, image=pixels)
    with pytest.raises(InputError, match="this processor has no chat template"):
        attnscope.trace(model, plain, messages=chat, image=pixels)


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


SEES = {
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 4,
}
READS = {
    **TEXT,
    "hidden_size": 32,
    "head_dim": 16,
    "num_hidden_layers": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_TWO = (2, 3, 32, 32)


def _family(kind: str) -> tuple[Any, tuple[int, ...], int]:
    """A model, the shape of two images for it, and how many patches along a side become one token."""
    ids = {"image_token_id": 96}
    if kind == "llava":
        config = T.LlavaConfig(
            vision_config=T.CLIPVisionConfig(**SEES), text_config=T.LlamaConfig(**READS), vision_feature_layer=-1, **ids
        )
        return T.LlavaModel(config), _TWO, 1
    if kind == "idefics3":
        config = T.Idefics3Config(
            vision_config={"model_type": "idefics3_vision", **SEES},
            text_config={"model_type": "llama", **READS},
            scale_factor=2,
            pad_token_id=0,
            **ids,
        )
        return T.Idefics3Model(config), (1, *_TWO), 2
    if kind == "smolvlm":
        config = T.SmolVLMConfig(
            vision_config={"model_type": "smolvlm_vision", **SEES},
            text_config={"model_type": "llama", **READS},
            scale_factor=2,
            pad_token_id=0,
            **ids,
        )
        return T.SmolVLMModel(config), (1, *_TWO), 2
    if kind == "internvl":
        config = T.InternVLConfig(
            vision_config={**SEES, "image_size": [32, 32], "patch_size": [4, 4]},
            text_config={"model_type": "qwen2", **READS},
            downsample_ratio=0.5,
            **ids,
        )
        return T.InternVLModel(config), _TWO, 2
    config = T.Gemma3Config(
        vision_config=SEES,
        text_config={**READS, "layer_types": ["full_attention"]},
        mm_tokens_per_image=16,
        image_token_index=96,
        **ids,
    )
    return T.Gemma3Model(config), _TWO, 2


@pytest.mark.parametrize("kind", ["llava", "idefics3", "smolvlm", "internvl", "gemma3"])
def test_a_patch_of_pixels_moves_the_token_of_its_name_alone(kind: str) -> None:
    """Attention of the tower writes nothing here, so that no patch is mixed into another on the way to the text."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model, shape, side = _family(kind)
    model.eval()
    for path, module in model.named_modules():
        if "vision" in path and path.endswith(("out_proj", "o_proj", "projection_layer")):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    if kind == "gemma3":  # begins at zero
        with torch.random.fork_rng():
            torch.nn.init.normal_(model.multi_modal_projector.mm_input_projection_weight)
    each = (8 // side) ** 2
    ids = torch.tensor([[1, *(96,) * each, 5, *(96,) * each, 2]])
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(6))
    given = {"input_ids": ids, "pixel_values": pixels}
    if kind == "gemma3":
        given["token_type_ids"] = (ids == 96).long()
    trace = attnscope.trace(model, None, inputs=given, keep={"x"})
    text = next(site for site in trace.sites if site.queries == ids.shape[1])
    grids = trace.tokens.grids
    assert [(one.rows, one.columns) for one in grids] == [(8 // side, 8 // side)] * 2
    tower = trace.query_tokens(next(site for site in trace.sites if site is not text))
    assert len(tower.grids) == 2, "the tower's own patches have their places as well"
    for image, row, column in [(0, 0, 0), (0, 1, 2), (0, 7, 3), (1, 2, 5), (1, 5, 1), (1, 6, 7)]:
        other = pixels.clone()
        other.view(2, 3, 32, 32)[image, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 3
        changed = attnscope.trace(model, None, inputs={**given, "pixel_values": other}, keep={"x"})
        apart = (changed.site(0, stack=text.stack).x - text.x).abs().amax(1)
        moved = (apart > 1e-5).nonzero().flatten().tolist()
        assert moved == [grids[image].tokens[row // side * (8 // side) + column // side]]
        assert trace.tokens.shown[moved[0]] == f"patch {row // side},{column // side}"


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
