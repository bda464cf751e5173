"""Names for what a model hears: seconds, and which positions are the silence that fills the sound up."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attnscope.tracing.silence import SILENT
from attnscope.tracing.sounds import Sound
from attnscope.tracing.tokens import Tokens

FRAME = 0.01  # seconds from frame to frame of Whisper's features, where no extractor says it
ENOUGH = 0.25  # seconds of the same frame again and again that are silence, and no chance
BANDS, COLUMNS = 40, 400  # of the small picture, at most


def sound_names(model: Any, reader: Any, ready: Mapping[str, Any]) -> tuple[Tokens, str]:
    """Tokens named "0.02 s" for the positions of a model that hears, and a note on silence behind the sound; none where the
    time of a position is not known. `reader`: the feature extractor, or a processor with one."""
    heard = ready.get("input_features", ready.get("input_values"))
    lengths = _lengths(model)
    if not isinstance(heard, Tensor) or heard.ndim < 2 or lengths is None:
        return Tokens(()), ""
    extractor = getattr(reader, "feature_extractor", reader)
    framed = "input_features" in ready
    step = _step(model, extractor, framed)
    if step is None or (framed and heard.ndim != 3):
        return Tokens(()), ""
    far = 1_000_000
    each = step * round(far / (lengths(2 * far) - lengths(far)))
    count, sounding = lengths(heard.shape[-1]), lengths(_sounding(heard[0], ready, framed, step))
    digits = 2 if each >= FRAME else 3
    names = [f"{each * i:.{digits}f} s" for i in range(count)]
    filled = 0 < sounding < count
    positions = sounding if filled else count
    sound = _sound(heard[0], positions, each, step, framed) if positions else None
    if not filled:
        return Tokens(tuple(names), sound=sound), ""
    silent = tuple(SILENT + name for name in names[sounding:])
    note = (
        f"The sound ends at {each * sounding:.2f} s. The {count - sounding:,} positions behind it are the silence that fills it up; "
        "they count as special tokens, and special='show' shows them."
    )
    special = (False,) * sounding + (True,) * (count - sounding)
    return Tokens((*names[:sounding], *silent), special=special, sound=sound), note


def _sound(heard: Tensor, positions: int, each: float, step: float, framed: bool) -> Sound:
    """With a small picture of what these positions last: frames as a spectrogram, samples as a waveform."""
    heard = heard[..., : max(1, round(positions * each / step))].detach().float().cpu().nan_to_num()
    columns = min(COLUMNS, heard.shape[-1])
    if not framed:
        heard = heard.flatten()[: heard.shape[-1]]
        scaled = heard / heard.abs().max().clamp_min(1e-9)
        high, low = (F.adaptive_max_pool1d(one[None], columns)[0] for one in (scaled, -scaled))
        pixels = 128 + 127 * torch.stack([high, -low])
        return Sound(positions, each, "waveform", 2, columns, _octets(pixels))
    bands = min(BANDS, len(heard))
    pooled = F.adaptive_avg_pool2d(heard[None], (bands, columns))[0].flip(0)
    low, high = pooled.min(), pooled.max()
    return Sound(
        positions, each, "spectrogram", bands, columns, _octets(255 * (pooled - low) / (high - low).clamp_min(1e-9))
    )


def _octets(pixels: Tensor) -> bytes:
    return pixels.round().clamp(0, 255).to(torch.uint8).numpy().tobytes()


def _lengths(model: Any) -> Any:
    """How many positions a model makes of so many samples or frames; None where it does not say."""
    for holder in (
        model,
        getattr(model, "model", None),
        getattr(model, getattr(model, "base_model_prefix", "") or "-", None),
    ):
        asked: Any = getattr(holder, "_get_feat_extract_output_lengths", None)
        if callable(asked):
            return lambda length: int(torch.as_tensor(asked(torch.tensor(length))))
    return None


def _step(model: Any, extractor: Any, framed: bool) -> float | None:
    """Seconds from one frame, or one sample, to the next."""
    rate = getattr(extractor, "sampling_rate", None)
    if not framed:
        return 1 / rate if rate else None
    hop = getattr(extractor, "hop_length", None)
    if rate and hop:
        return hop / rate
    return FRAME if getattr(getattr(model, "config", None), "model_type", "") == "whisper" else None


def _sounding(heard: Tensor, ready: Mapping[str, Any], framed: bool, step: float) -> int:
    """How many frames or samples are sound: by the mask, else up to where one frame comes again and again."""
    mask, count = ready.get("attention_mask"), heard.shape[-1]
    if isinstance(mask, Tensor) and mask.shape[-1] == count:
        return int(mask[0].sum()) if bool((mask[0].diff() <= 0).all()) else count
    same = heard == heard[..., -1:]
    same = same.all(0) if framed else same
    silent = int(same.flip(0).long().cumprod(0).sum())
    return count - silent if silent * step >= ENOUGH else count
