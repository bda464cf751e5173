"""Attention inside a larger module: a norm in front, a residual sum behind.

Where no recipe reproduces the whole module, forward hooks take what went into its projections and what came out of
its output projection, and the recipes are compared with the attention between the two.
"""

from typing import Any

from torch import Tensor, nn

from attnscope.doctor.projections import role_of
from attnscope.doctor.search import Run
from attnscope.doctor.suspects import Reading, Suspect


def between(module: nn.Module, suspect: Suspect, runs: list[Run], options: dict[str, Any]) -> tuple[list[Run], str] | None:  # fmt: skip
    """The same probes, as the projections saw them, and where that was; None where hooks do not find both ends."""
    first, last = _ends(module)
    if first is None or last is None or suspect.call.inputs != 1:
        return None
    found: list[Run] = []
    for run in runs:
        seen: dict[str, Tensor] = {}
        hooks = [
            module.get_submodule(first).register_forward_pre_hook(lambda _, args, s=seen: s.setdefault("x", args[0])),
            module.get_submodule(last).register_forward_hook(lambda _, args, out, s=seen: s.setdefault("y", out)),
        ]
        try:
            reading = suspect.run(run.inputs, seed=11, **options)
        finally:
            for hook in hooks:
                hook.remove()
        x, y = seen.get("x"), seen.get("y")
        if x is None or y is None or x.ndim != 3 or y.ndim != 3:
            return None
        inner = Reading(reading.outcome, y.detach().float(), None)
        found.append(Run((x, x, x), inner))
    return found, f"between the input of {first} and the output of {last}"


def _ends(module: nn.Module) -> tuple[str | None, str | None]:
    """Paths of the first projection and of the output projection after it."""
    first = last = None
    for path, part in module.named_modules():
        if (
            getattr(part, "weight", None) is None
            or getattr(part.weight, "ndim", 0) != 2
            or isinstance(part, nn.Embedding)
        ):
            continue
        role = next((r for name in reversed(path.split(".")) if not name.isdigit() and (r := role_of(name))), None)
        if role in ("q", "k", "v", "qkv", "kv"):
            first = first or path
        elif role == "o" and first is not None and last is None:
            last = path
    return first, last
