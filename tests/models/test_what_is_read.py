"""trace(inputs=…) takes what a capture takes: towers, patches, learned queries, registers, frames."""

from typing import Any

import pytest
import torch
import transformers as T

import attnscope
from attnscope.models.length import max_positions

VISION = {"hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 37, "patch_size": 7}
TEXT = {
    "vocab_size": 97,
    "hidden_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 41,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
PATCHES = 6  # 14 × 21 pixels in patches of 7 × 7


def made(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    return kind(config).eval()


@pytest.fixture(scope="module")
def llava() -> Any:
    vision = T.CLIPVisionConfig(**VISION, image_size=14, projection_dim=11)
    return made(
        T.LlavaForConditionalGeneration,
        T.LlavaConfig(
            vision_config=vision,
            text_config=T.LlamaConfig(**TEXT),
            image_token_id=96,
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
        ),
    )


def _llava_inputs(images: int) -> dict[str, torch.Tensor]:
    ids = torch.tensor([[1, 5, *([96] * 4 * images), 6, 7]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(images, 3, 14, 14)}


@pytest.mark.parametrize("images", [1, 2, 3])
def test_a_texts_length_is_not_measured_by_the_table_of_an_image(llava: Any, images: int) -> None:
    """5 patches are the vision tower's; the text may have more, and its images are no rows of a batch."""
    assert max_positions(llava) is None
    trace = attnscope.trace(llava, None, inputs=_llava_inputs(images))
    assert trace.verify().passed
    language = [site for site in trace.sites if "language" in site.path]
    assert [site.keys for site in language] == [4 + 4 * images] * 2


def test_a_batch_of_texts_is_still_refused(llava: Any) -> None:
    inputs = {name: torch.cat([x, x]) for name, x in _llava_inputs(1).items()}
    with pytest.raises(attnscope.InputError, match="is a batch of 2 rows"):
        attnscope.trace(llava, None, inputs=inputs)


def test_the_table_of_the_text_tower_counts() -> None:
    text = {
        n: TEXT[n] for n in ("vocab_size", "num_hidden_layers", "intermediate_size", "bos_token_id", "eos_token_id")
    }
    config = T.CLIPConfig(
        text_config={**text, "hidden_size": 22, "num_attention_heads": 2, "max_position_embeddings": 31},
        vision_config={**VISION, "image_size": 14},
    )
    assert max_positions(made(T.CLIPModel, config)) == 31
    captions = T.BlipConfig(
        text_config={**TEXT, "max_position_embeddings": 29}, vision_config={**VISION, "image_size": 14}
    )
    assert max_positions(made(T.BlipForConditionalGeneration, captions)) == 29
    bart = T.BartConfig(
        vocab_size=97, d_model=22, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=37, decoder_ffn_dim=37, max_position_embeddings=23,
    )  # fmt: skip
    assert max_positions(made(T.BartModel, bart)) == 23


def test_a_batch_of_patches() -> None:
    """Qwen2-VL: the first axis of pixel_values counts patches; four of them are one token."""
    config = T.Qwen2VLConfig(
        text_config={
            **TEXT,
            "hidden_size": 32,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        },
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4},
        image_token_id=96,
        video_token_id=95,
        vision_start_token_id=94,
        vision_end_token_id=93,
    )
    model = made(T.Qwen2VLModel, config)
    ids = torch.tensor([[5, 94, 96, 96, 96, 93, 6, 7]])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == 96).long(),
        "pixel_values": torch.randn(12, 3 * 2 * 4 * 4),
        "image_grid_thw": torch.tensor([[1, 2, 6]]),
    }
    trace = attnscope.trace(model, None, inputs=inputs)
    assert trace.verify().passed
    assert trace.site(0, trace.sites[-1].stack).keys == 8
    assert "<html" in trace.show().html


def test_a_decoder_of_learned_queries_needs_no_start_token() -> None:
    backbone = T.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], out_features=["stage2"])
    config = T.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=backbone, d_model=20, encoder_layers=2,
        decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=37, decoder_ffn_dim=37,
        num_queries=5,
    )  # fmt: skip
    trace = attnscope.trace(made(T.DetrModel, config), None, inputs={"pixel_values": torch.randn(1, 3, 16, 24)})
    assert set(trace.stacks) == {"encoder", "decoder", "cross"}
    assert {(site.queries, site.keys) for site in trace.sites if site.stack == "cross"} == {(5, 6)}
    assert trace.target is not None
    assert len(trace.target) == 5


@pytest.mark.parametrize("name", ["Dinov2WithRegisters", "DINOv3ViT"])
def test_registers_stand_before_the_patches(name: str) -> None:
    more = {"intermediate_size": 37} if name == "DINOv3ViT" else {}
    config = getattr(T, f"{name}Config")(
        hidden_size=28, num_hidden_layers=2, num_attention_heads=7, image_size=21, patch_size=7, num_register_tokens=3, **more
    )  # fmt: skip
    inputs = {"pixel_values": torch.randn(1, 3, 14, 21)}
    tokens = attnscope.trace(made(getattr(T, f"{name}Model"), config), None, inputs=inputs).tokens
    assert tokens.strings[:5] == ("[CLS]", "[REG 0]", "[REG 1]", "[REG 2]", "patch 0,0")
    assert tokens.strings[-1] == "patch 1,2"
    assert tokens.special == (True,) * 4 + (False,) * PATCHES


def test_a_videos_patches_name_their_frame() -> None:
    config = T.VideoMAEConfig(**VISION, image_size=14, num_frames=6, tubelet_size=2)
    trace = attnscope.trace(made(T.VideoMAEModel, config), None, inputs={"pixel_values": torch.randn(1, 6, 3, 14, 14)})
    assert len(trace.tokens) == trace.sites[0].keys == 12
    assert trace.tokens.strings[::4] == ("frame 0 patch 0,0", "frame 1 patch 0,0", "frame 2 patch 0,0")


def test_where_names_cannot_be_told_positions_are_numbered_and_the_trace_says_so() -> None:
    """ViT-MAE drops patches at random."""
    config = T.ViTMAEConfig(**VISION, image_size=14, mask_ratio=0.5)
    trace = attnscope.trace(made(T.ViTMAEModel, config), None, inputs={"pixel_values": torch.randn(1, 3, 14, 14)})
    assert trace.tokens.strings == ("0", "1", "2")
    assert any(note.endswith("positions are numbered.") for note in trace.notes)


def test_several_codes_at_a_position() -> None:
    """Speech models read [1, T, codebooks] and add the codes' vectors up."""

    class Codes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.attention = (
                torch.nn.Embedding(97, 20),
                torch.nn.MultiheadAttention(20, 2, batch_first=True),
            )

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            x = self.table(input_ids).sum(2)
            return self.attention(x, x, x)[0]

    trace = attnscope.trace(Codes().eval(), None, inputs={"input_ids": torch.randint(0, 97, (1, 5, 3))})
    assert trace.tokens.strings == ("0", "1", "2", "3", "4")


def test_windows_of_an_image_run_through() -> None:
    config = T.SwinConfig(image_size=28, patch_size=7, embed_dim=14, depths=[1, 1], num_heads=[2, 7], window_size=2)
    trace = attnscope.trace(made(T.SwinModel, config), None, inputs={"pixel_values": torch.randn(1, 3, 28, 28)})
    assert trace.verify().passed
    assert "<html" in trace.show().html


@pytest.mark.parametrize(
    ("model", "config", "more"),
    [
        ("RobertaPreLayerNormModel", "RobertaPreLayerNormConfig", {}),
        (
            "LongcatFlashModel",
            "LongcatFlashConfig",
            {
                "num_layers": 1, "q_lora_rank": 11, "kv_lora_rank": 13, "qk_rope_head_dim": 10, "qk_nope_head_dim": 6,
                "qk_head_dim": 16, "head_dim": 10, "v_head_dim": 7, "n_routed_experts": 3, "zero_expert_num": 1, "moe_topk": 2,
                "ffn_hidden_size": 41, "expert_ffn_hidden_size": 17, "num_key_value_heads": 2,
            },
        ),
    ],
)  # fmt: skip
def test_attention_is_not_only_what_is_called_so(model: str, config: str, more: dict[str, Any]) -> None:
    """One class has "Norm" in its name, the other is called MLA."""
    small = made(getattr(T, model), getattr(T, config)(**{**TEXT, **more}))
    trace = attnscope.trace(small, None, inputs={"input_ids": torch.tensor([[5, 6, 7, 8, 9]])})
    assert trace.verify().passed


def test_a_model_that_does_not_say_where_its_table_of_tokens_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(T.BertModel, T.BertConfig(**{**TEXT, "max_position_embeddings": 19}))

    def refuse() -> None:
        raise NotImplementedError

    monkeypatch.setattr(model, "get_input_embeddings", refuse)
    assert max_positions(model) == 19
    assert len(attnscope.trace(model, None, inputs={"input_ids": torch.tensor([[5, 6, 7]])}).tokens) == 3
