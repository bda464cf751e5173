"""What a payload says about itself, read before any of its numbers: its description, and a shape for each tensor."""

import json
import math
from dataclasses import dataclass
from io import BytesIO, FileIO
from typing import Any, TypeGuard

from attnscope.errors import PayloadError

FORMAT = "attnscope"
VERSION = 1
LONGEST = 100_000_000  # bytes of a header; safetensors reads no longer one
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1}
BYTES |= {"U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Layout:
    """A tensor's dtype, as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """`meta`: the description. `layouts`: of each tensor, by name; together they are exactly as long as the bytes."""

    meta: dict[str, Any]
    layouts: dict[str, Layout]


def read_header(file: BytesIO | FileIO, size: int) -> Header:
    """The header at the beginning of `file`, which has `size` bytes.

    Raises PayloadError for what is no payload, is cut short, or comes from a newer version.
    """
    try:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST):
            raise ValueError(f"its header would have {length:,} of {size:,} bytes")
        header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is not a JSON object")
        given = header.pop("__metadata__", None) or {}
        layouts = _layouts(header, size - 8 - length)
        text = given.get(FORMAT) if isinstance(given, dict) else None
    except (ValueError, RecursionError) as error:
        raise PayloadError(
            f"this is not a whole .safetensors file ({str(error).strip() or type(error).__name__}): it is something else, "
            "or was cut short on the way."
        ) from error
    if text is None:
        raise PayloadError(
            "this .safetensors file holds no attnscope trace (model weights, perhaps?): expected a file written by "
            "Trace.save. To look at a model, give attnscope.load its folder."
        )
    return Header(_description(text), layouts)


def _description(text: Any) -> dict[str, Any]:
    try:
        meta = json.loads(text)
        version = meta["version"]
        known = meta["format"] == FORMAT and 1 <= version <= VERSION
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PayloadError(
            f"this .safetensors file has an entry named {FORMAT}, but it is not the description of a trace; save the trace again."
        ) from error
    if not known:
        raise PayloadError(
            f"this trace has format version {str(version)[:40]}, and this attnscope reads up to {VERSION}: "
            "install a newer attnscope."
        )
    return meta


def _layouts(header: dict[str, Any], size: int) -> dict[str, Layout]:
    """Every tensor's layout. Raises ValueError unless they fill `size` bytes, without holes."""
    layouts, spans = {}, []
    for name, entry in header.items():
        if not isinstance(entry, dict):
            raise ValueError(f"tensor {ascii(name)[:40]} has no shape")
        dtype, shape, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not (_whole(shape) and _whole(span) and len(span) == 2):
            raise ValueError(f"tensor {ascii(name)[:40]} has no shape")
        if not isinstance(dtype, str) or dtype not in BYTES:
            raise ValueError(f"tensor {ascii(name)[:40]} has the dtype {ascii(dtype)[:40]}")
        if math.prod(shape) * BYTES[dtype] != span[1] - span[0]:
            raise ValueError(f"tensor {ascii(name)[:40]} does not fit its shape")
        layouts[name] = Layout(dtype, tuple(shape))
        spans.append(tuple(span))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError("its tensors do not follow each other")
        end = stop
    if end != size:
        raise ValueError(f"its tensors need {end:,} bytes, and it has {size:,}")
    return layouts


def _whole(numbers: Any) -> TypeGuard[list[int]]:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 1 << 53 for n in numbers)
