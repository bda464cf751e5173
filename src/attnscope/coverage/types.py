"""The architectures there are: transformers' model types, and the class that is built for each."""

from collections.abc import Iterator
from typing import Any

# Checked by a test at every change: a row of docs/coverage.md may get better, and not worse.
POPULAR = tuple(
    """albert bart bert blip clip cohere2 deberta deberta-v2 deepseek_v3 detr dinov2 dinov2_with_registers dinov3_vit
    distilbert electra esm falcon gemma gemma2 gemma3_text gpt2 gpt_neo gpt_neox gpt_oss gptj granite idefics3 layoutlm
    llama llava mbart mistral mixtral modernbert mpnet mpt mt5 olmo2 opt paligemma phi phi3 pix2struct qwen2 qwen2_vl qwen3
    qwen3_moe roberta sam siglip smollm3 swin t5 videomae vit wav2vec2 whisper xlm-roberta xlnet""".split()
)
# Where a type's class is looked for, in this order.
_MAPPINGS = """MODEL MODEL_FOR_PRETRAINING MODEL_FOR_CAUSAL_LM MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM MODEL_FOR_IMAGE_TEXT_TO_TEXT
    MODEL_FOR_BACKBONE MODEL_FOR_OBJECT_DETECTION MODEL_FOR_DEPTH_ESTIMATION MODEL_FOR_TEXT_TO_WAVEFORM""".split()


def all_types() -> list[str]:
    """Every model type that this transformers names a class for."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return sorted(name for name in CONFIG_MAPPING_NAMES if class_name(name) is not None)


def class_name(model_type: str) -> str | None:
    """The name of the class that is built for a type; None where transformers names none, as for parts of other models."""
    for names in _mappings():
        if model_type in names:
            found = names[model_type]
            return found if isinstance(found, str) else found[0]
    return None


def _mappings() -> Iterator[dict[str, Any]]:
    from transformers.models.auto import modeling_auto

    for name in _MAPPINGS:
        yield dict(getattr(modeling_auto, f"{name}_MAPPING_NAMES", {}))
