"""Pictures and recordings in a folder."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError, UnreadableFile

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
RECORDINGS = (".wav",)


def media_files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files with these endings in a folder and its folders, by name. Raises InputError where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())
    if not found:
        raise InputError(f"the folder {folder} holds no file that ends in {', '.join(endings)}.")
    return found


def read_sound(path: Path, rate: int) -> Float[np.ndarray, " samples"]:
    """The samples of a WAV file from −1 to 1, several channels as their mean. `rate`: how many a second the model reads.

    Raises UnreadableFile for what is no WAV of whole numbers, InputError for another rate.
    """
    try:
        with wave.open(str(path)) as file:
            about, raw = file.getparams(), file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise UnreadableFile(f"{path} cannot be read as a WAV file: {error}.") from error
    if about.framerate != rate:
        raise InputError(
            f"{path} has {about.framerate:,} samples a second, and the model reads {rate:,}. Convert it: ffmpeg -i {path.name} -ar {rate} "
            f"{path.stem}-{rate}.wav"
        )
    return _samples(raw, about.sampwidth).reshape(-1, about.nchannels).mean(1, dtype=np.float32)


def waveform(sound: Any) -> Float[np.ndarray, " samples"]:
    """Samples that are in memory, at the rate that the model reads. Raises InputError for other than one row of finite ones."""
    samples = np.asarray(sound.detach().cpu() if isinstance(sound, Tensor) else sound, dtype=np.float32)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise InputError(f"expected a waveform as one row of finite samples, got shape {list(samples.shape)}.")
    return samples


def _samples(raw: bytes, width: int) -> Float[np.ndarray, " samples"]:
    if width == 1:  # the only one without a sign
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    octets = np.frombuffer(raw, np.uint8).reshape(-1, width)
    whole = np.zeros((len(octets), 4), np.uint8)
    whole[:, 4 - width :] = octets
    return whole.reshape(-1).view("<i4").astype(np.float32) / 2**31
