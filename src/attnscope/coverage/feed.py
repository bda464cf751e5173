"""Inputs for a small model: what its forward needs, found by asking it. Where it refuses, its message says what it misses."""

import inspect
import re
from typing import Any

import torch

TEXT, TARGET = 11, 7
_MASKS = frozenset({"attention_mask", "decoder_attention_mask"})


class NoInputs(Exception):
    """A model that no inputs were found for."""


def feed(model: Any) -> dict[str, Any]:
    """Inputs with which the model runs. Raises NoInputs, with the model's last message."""
    names = inspect.signature(model.forward).parameters
    wanted = [n for n, p in names.items() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    main = getattr(model, "main_input_name", None)
    wanted += [main] if main in names and main not in wanted else []
    if not {"input_ids", "pixel_values", "input_features", "input_values"}.intersection(wanted):
        wanted += [n for n in ("input_ids", "pixel_values") if n in names][:1]
    if (
        ("input_ids" in wanted and getattr(model.config, "is_encoder_decoder", False))
        or main in ("input_features", "input_values")
        or (main == "pixel_values" and getattr(model.config, "is_encoder_decoder", False))
    ):
        wanted += [n for n in ("decoder_input_ids",) if n in names]
    wanted += [n for n in ("attention_mask",) if n in names and "input_ids" in wanted]
    if "pixel_values" in names and "input_ids" in wanted and "pixel_values" not in wanted:
        attempts: list[list[str]] = [[*wanted, "pixel_values"], wanted]
    else:
        attempts = [wanted]
    said = ""
    for attempt in attempts:
        try:
            return _asked(model, attempt, names)
        except NoInputs as error:
            said = said or str(error)
    raise NoInputs(said)


def _asked(model: Any, wanted: list[str], names: Any) -> dict[str, Any]:
    images = 0
    said = ""
    shape = 0
    tried = set()
    wanted = [*wanted]
    for _ in range(9):
        inputs: dict[str, Any] = {}
        for name in dict.fromkeys(wanted):
            value = _tensor(name, model, images, shape, names)
            if value is not None:
                inputs[name] = value
        try:
            with torch.no_grad():
                torch.manual_seed(0)
                model(**inputs)
            return inputs
        except Exception as error:  # of the model's own code
            message = f"{type(error).__name__}: {error}"
            said = said or message
        if match := re.search(r"tokens:?\s*(\d+).*?features:?\s*(?:torch.Size\(\[)?(\d+)", message, re.S):
            told = int(match[2])
            counts = [
                n for n in (told, told // _number(_first(model, "hidden_size", default=32))) if n and n not in tried
            ]
            if counts:
                images = counts[0]
                tried.add(images)
                continue
        if "image_grid_thw" in names and "image_grid_thw" not in wanted and "pixel_values" in wanted:
            wanted.append("image_grid_thw")
            continue
        more = [
            n
            for n in names
            if n not in wanted and re.search(rf"\b{re.escape(n)}\b", message) and not n.endswith("inputs_embeds")
        ]
        if more:
            wanted += [n for n in more if n not in _MASKS][:2]
            continue
        if "decoder" in message and "decoder_input_ids" in names and "decoder_input_ids" not in wanted:
            wanted.append("decoder_input_ids")
            continue
        if shape < 3:
            shape += 1
            continue
        break
    raise NoInputs(said)


def _config(model: Any) -> list[Any]:
    config = model.config
    subs = [
        getattr(config, n, None)
        for n in (
            "vision_config",
            "audio_config",
            "backbone_config",
            "encoder",
            "encoder_config",
            "text_config",
            "speech_config",
            "video_config",
        )
    ]
    found = [config] + [s for s in subs if hasattr(s, "to_dict")]
    for sub in list(found[1:]):
        for n in ("vision_config", "audio_config", "backbone_config", "encoder_config"):
            if hasattr(getattr(sub, n, None), "to_dict"):
                found.append(getattr(sub, n))
    return found


def _first(model: Any, *names: str, default: Any = None) -> Any:
    for config in _config(model):
        for name in names:
            value = getattr(config, name, None)
            if value is not None:
                return value
    return default


def _number(value: Any) -> int:
    return value if isinstance(value, int) else value[-1]


def _tensor(name: str, model: Any, images: int, shape: int, names: Any) -> Any:
    vocabulary = min(200, _number(_first(model, "vocab_size", default=100)))
    if name in ("input_ids", "decoder_input_ids", "text_input_ids", "labels"):
        length = TARGET if name.startswith("decoder") else TEXT
        ids = torch.randint(3, max(4, vocabulary - 60 if vocabulary > 100 else vocabulary), (1, length))
        token = _first(
            model,
            "image_token_id",
            "image_token_index",
            "image_token",
            "media_token_id",
            "audio_token_id",
            "audio_token_index",
            "speech_token_index",
            "audio_token",
        )
        if images and isinstance(token, int) and name == "input_ids":
            ids = torch.cat([ids[:, :2], torch.full((1, images), token), ids[:, 2:]], 1)
        return ids
    if name == "attention_mask":
        ids = images + TEXT
        main = getattr(model, "main_input_name", "")
        return torch.ones(1, ids, dtype=torch.long) if main == "input_ids" else None
    if name == "decoder_attention_mask":
        return None
    if name in (
        "pixel_values",
        "pixel_values_videos",
        "video",
        "images",
        "query_pixel_values",
        "conditional_pixel_values",
    ):
        side, channels = (
            _first(model, "image_size", "img_size", "input_size", default=64),
            _first(model, "num_channels", "in_channels", default=3),
        )
        if isinstance(side, dict):
            side = side.get("height", 32)
        high, wide = (side, side) if isinstance(side, int) else (side[-2] if len(side) > 1 else side[0], side[-1])
        frames = _first(model, "num_frames", "num_image_with_embedding", default=None)
        plain = (channels, high, wide)
        if {"image_grid_thw", "grid_thw"} & set(names):
            patch = _first(model, "patch_size", default=8)
            return torch.randn(16, channels * _first(model, "temporal_patch_size", default=1) * patch * patch)
        if frames and shape == 0 and isinstance(frames, int):
            return torch.randn(1, frames, *plain)
        if shape == 1:
            return torch.randn(1, 1, *plain)
        if shape == 2:
            return torch.randn(1, channels, 64, 64)
        return torch.randn(1, *plain)
    if name == "input_features":
        mels = _first(
            model,
            "feature_projection_input_dim",
            "num_mel_bins",
            "input_feat_per_channel",
            "feature_size",
            "input_dim",
            default=80,
        )
        length = 2 * _first(model, "max_source_positions", default=32)
        return torch.randn(1, mels, length) if shape % 2 == 0 else torch.randn(1, length, mels)
    if name in ("input_values", "audio_values", "waveform"):
        mels = _first(model, "num_mel_bins", default=None)
        if mels and shape == 0:
            return torch.randn(1, _first(model, "max_length", default=64), mels)
        return torch.randn(1, 4000) if shape % 2 == 0 else torch.randn(1, 1, 4000)
    if name == "flattened_patches":
        return torch.randn(
            1, 9, 2 + _first(model, "num_channels", default=3) * _first(model, "patch_size", default=16) ** 2
        )
    if name == "inputs":
        return torch.randn(1, TEXT, _first(model, "d_model", default=32))
    if name == "bbox":
        return torch.randint(0, 50, (1, TEXT, 4)).sort(-1).values
    if name in ("image_grid_thw", "grid_thw"):
        return torch.tensor([[1, 4, 4]])
    if name == "image_sizes":
        return torch.tensor([[32, 32]])
    if name == "decoder_inputs_embeds" or name == "inputs_embeds":
        width = _first(model, "hidden_size", "d_model", default=32)
        return torch.randn(1, TEXT, _number(width))
    if name == "hidden_states":
        width = _first(model, "hidden_size", "d_model", "embed_dim", default=32)
        return torch.randn(1, TEXT, _number(width))
    return None
