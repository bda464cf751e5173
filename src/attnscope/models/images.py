"""An image as the user has it -> the model's inputs; and from the inputs the small picture of what the model saw."""

import io
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnscope.errors import InputError, MissingDependency
from attnscope.models.image_chat import chat_with_image
from attnscope.models.patches import frames_each, patch_size

MOST = 100_000  # bytes of a picture that is kept with a trace
SIDE = 448  # pixels of its longer side, at most


def is_image(value: Any) -> bool:
    """A PIL image, or an array or tensor of pixels."""
    return isinstance(value, (np.ndarray, Tensor)) or all(hasattr(value, name) for name in ("convert", "size", "mode"))


def reads_pixels(model: Any) -> bool:
    """Whether a model reads an image and no text: then a string is the path of one."""
    return getattr(model, "main_input_name", "input_ids") == "pixel_values"


def image_processor(reader: Any) -> Any:
    """What makes pixels, in a processor or as one; None where there is none."""
    inside = getattr(reader, "image_processor", reader)
    return inside if callable(inside) and hasattr(inside, "image_mean") else None


def image_inputs(
    reader: Any, image: Any, text: str | None = None, messages: Any = None, continues: bool = False
) -> dict[str, Any]:
    """The inputs that a processor makes of an image, and of a `text` beside it, or of a chat that `continues`.

    `image`: a PIL image, pixels as numpy or torch (0 to 255, or floats from 0 to 1; [rows, columns], with 3 colours
        first or last), or the path of a picture. Raises InputError where there is no processor, or no such image.
    """
    if image_processor(reader) is None:
        what = "none was given" if reader is None else f"{type(reader).__name__} is none"
        raise InputError(
            f"an image needs the model's processor as the second argument, and {what}: "
            "attnscope.load gives it with the model, and so does transformers.AutoProcessor.from_pretrained(…)."
        )
    opened = _opened(image)
    if text is None and messages is None:
        return dict(image_processor(reader)(images=opened, return_tensors="pt"))
    if image_processor(reader) is reader:
        raise InputError(f"{type(reader).__name__} reads an image and no text: leave out the text.")
    if messages is not None:  # the template writes the special tokens
        written = chat_with_image(reader, messages, continues)
        return dict(reader(text=written, images=opened, return_tensors="pt", add_special_tokens=False))
    return dict(reader(text=text, images=opened, return_tensors="pt"))


def pictures_of(model: Any, reader: Any, inputs: Mapping[str, Any]) -> list[bytes]:
    """PNGs of what the model sees, one for each image, or for each token's first frame of a video: the pixels of `inputs`, with the processor's mean and
    deviation taken back. None where the processor does not tell these. What is left at the right and
    below of whole patches is cut off, as the model does."""
    processor, patch = image_processor(reader), patch_size(model)
    pixels = _pixels_in(inputs, getattr(processor, "merge_size", 1))
    if processor is None or pixels is None:
        return []
    if pixels.ndim == 5:
        pixels = pixels[:, :: frames_each(model)]
    frames = pixels.detach().float().cpu().flatten(0, pixels.ndim - 4).movedim(1, -1).numpy()
    mean, deviation = (np.atleast_1d(getattr(processor, name) or 0) for name in ("image_mean", "image_std"))
    if frames.shape[-1] not in (1, 3):
        return []
    if getattr(processor, "do_normalize", True) and len(mean) in (1, frames.shape[-1]) and deviation.all():
        frames = frames * deviation + mean
    if getattr(processor, "do_rescale", True) is False:
        frames = frames * float(getattr(processor, "rescale_factor", 1 / 255))
    if patch:
        high, wide = (length // side * side for length, side in zip(frames.shape[1:3], patch, strict=True))
        frames = frames[:, :high, :wide]
    return [_png((frame.clip(0, 1) * 255).round().astype(np.uint8)) for frame in frames if frame.size]


def _pixels_in(inputs: Mapping[str, Any], side: Any) -> Tensor | None:
    """[images, colours, rows, columns], or [1, frames or tiles, …]. Qwen2-VL and its kin have a row for each patch, in squares
    of side × side; such images are put together again where all are as large."""
    pixels, sizes = inputs.get("pixel_values"), inputs.get("image_grid_thw")
    if not isinstance(pixels, Tensor):
        return None
    if pixels.ndim != 2 or not isinstance(sizes, Tensor) or not isinstance(side, int):
        return pixels if pixels.ndim in (4, 5) else None
    found = []
    for image, (frames, rows, columns) in zip(pixels.split(sizes.prod(-1).tolist()), sizes.tolist(), strict=True):
        length = math.isqrt(image.shape[1] // 6)  # 3 colours of two frames, of which an image has the same one twice
        if length * length * 6 != image.shape[1] or rows % side or columns % side:
            return None
        squares = image.view(frames, rows // side, columns // side, side, side, 3, 2, length, length)[
            :, :, :, :, :, :, 0
        ]
        found.append(squares.permute(0, 5, 1, 3, 6, 2, 4, 7).reshape(frames, 3, rows * length, columns * length))
    return torch.cat(found) if len({one.shape[1:] for one in found}) == 1 else None


def _png(pixels: "np.ndarray") -> bytes:
    """As large as it may be."""
    picture = _pillow().fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    side = min(SIDE, max(picture.size))
    while True:
        part = side / max(picture.size)
        small = picture if part == 1 else picture.resize([max(1, round(length * part)) for length in picture.size])
        small.save(file := io.BytesIO(), "PNG", optimize=True)
        if file.tell() <= MOST or side <= 32:
            return file.getvalue()
        side = int(side * 0.85)


def _opened(image: Any) -> Any:
    """As a PIL image of three colours."""
    pillow = _pillow()
    if isinstance(image, (str, os.PathLike)):
        try:
            with pillow.open(os.path.expanduser(image)) as file:
                return file.convert("RGB")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"the image {str(image)!r} could not be read: {reason}. Give the path of a picture."
            ) from error
    if not is_image(image):
        raise InputError(
            f"expected an image (PIL, numpy, a tensor of pixels, or the path of a picture), got {type(image).__name__}."
        )
    return pillow.fromarray(_pixels(image)).convert("RGB") if not hasattr(image, "convert") else image.convert("RGB")


def _pixels(image: Any) -> "np.ndarray":
    """uint8 [rows, columns, 3] of an array or a tensor."""
    pixels = np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image)
    shape = pixels.shape
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4) or not pixels.size:
        raise InputError(
            f"expected one image, [rows, columns] or with 3 colours as its last or first axis, got shape {list(shape)}."
        )
    low, high = float(pixels.min()), float(pixels.max())
    most = 1 if np.issubdtype(pixels.dtype, np.floating) and high <= 1 else 255
    if not (low >= 0 and high <= most):
        raise InputError(
            f"expected pixels from 0 to 255, or floats from 0 to 1, got {low:g} to {high:g}. Pixels that are normalized "
            "already go in as inputs={'pixel_values': …}."
        )
    pixels = (pixels.astype(np.float64) * (255 / most)).round().astype(np.uint8)
    return np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels[..., :3]


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependency("images need Pillow", "images") from None
    return Image
