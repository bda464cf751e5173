"""Which releases of torch and transformers attnscope works with: the ranges of pyproject.toml, for installs that got round them."""

import re

# The first release that works, and the first that does not any more; () where none is known.
RANGES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {"torch": ((2, 5), ()), "transformers": ((5, 1), (6,))}


def unsupported() -> str | None:
    """Why nothing can be captured with what is installed, and what to install; None where it fits."""
    import torch
    import transformers

    for name, found in (("torch", torch.__version__), ("transformers", transformers.__version__)):
        first, end = RANGES[name]
        release = _release(str(found))
        lacking = name == "transformers" and not hasattr(transformers.modeling_utils, "AttentionInterface")
        if release < first or (end and release >= end) or lacking:
            wanted = f">={_written(first)}" + (f",<{_written(end)}" if end else "")
            expected = f"{name} from {_written(first)} on" + (f" and below {_written(end)}" if end else "")
            return f"attnscope works with {expected}, and this is {name} {found}. Install one: pip install '{name}{wanted}'."
    return None


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _written(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
