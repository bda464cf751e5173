"""Attention inside a larger module: a norm in front, a residual sum behind.

Where no recipe reproduces the whole module, forward hooks take what went into its projections and what came out of
its output projection, and the recipes are compared with the attention between the two.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run.outputs import Reading, from_user
from attnscope.doctor.code_check.run.projections import Projections
from attnscope.doctor.code_check.run.sandbox import Outcome


def _noting(seen: dict[str, Tensor], role: str) -> Callable[[nn.Module, tuple], None]:
    """A hook that keeps the first input of a part under `role`."""

    def hook(_: nn.Module, args: tuple) -> None:
        if args:
            seen.setdefault(role, args[0].clone() if isinstance(args[0], Tensor) else args[0])

    return hook


def _noting_result(seen: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple, Any], None]:
    """A hook that keeps the first output of a part under `name`."""

    def hook(_: nn.Module, args: tuple, out: Any) -> None:
        if isinstance(out, Tensor):
            seen.setdefault(name, out.clone())

    return hook


def _noting_all(seen: dict[str, Any]) -> Callable[..., None]:
    """A hook that keeps what torch's own attention takes and gives; "first" says whether its batch comes first."""

    def hook(part: nn.MultiheadAttention, args: tuple, kwargs: dict[str, Any], out: Any) -> None:
        given = dict(zip(("query", "key", "value"), args, strict=False))
        for role in ("query", "key", "value"):
            seen.setdefault(role, given.get(role, kwargs.get(role)))
        seen.setdefault("out", out[0].clone())
        seen.setdefault("first", part.batch_first)

    return hook


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b)


ROLES = ("query", "key", "value", "out")
LAYOUTS = {True: "(batch, length, width)", False: "(length, batch, width)"}


@dataclass(frozen=True)
class Ends:
    """Paths of the modules that project to queries, keys, values, and from the heads' outputs."""

    query: str
    key: str
    value: str
    out: str
    whole: str = ""  # the path of torch's own nn.MultiheadAttention, where that is what stands inside

    @classmethod
    def of(cls, projections: Projections | None, module: Any) -> "Ends | None":
        """None where one of them is no module of its own (a bare parameter, a list of heads)."""
        paths = projections.paths if projections else {}
        roles = (("q", "qkv"), ("k", "kv", "qkv"), ("v", "kv", "qkv"), ("o",))
        found = [next((paths[role] for role in one if role in paths), None) for one in roles]
        if None not in found:
            return cls(*found)  # type: ignore[arg-type]
        if not isinstance(module, nn.Module):
            return None
        torchs = [path for path, part in module.named_modules() if path and isinstance(part, nn.MultiheadAttention)]
        return cls("", "", "", "", torchs[0]) if len(torchs) == 1 else None

    @contextlib.contextmanager
    def watched(self, module: Any) -> Iterator[dict[str, Tensor]]:
        """What the ends see while the module runs: "query", "key", "value" going in, "out" coming out."""
        seen: dict[str, Tensor] = {}
        if self.whole:
            hook = module.get_submodule(self.whole).register_forward_hook(_noting_all(seen), with_kwargs=True)
            try:
                yield seen
            finally:
                hook.remove()
            return

        def keep(_: nn.Module, args: tuple, out: Tensor) -> None:  # a copy: a residual may be added in place
            if "out" in seen and args and args[0].shape == seen["out"].shape and torch.equal(args[0], seen["out"]):
                seen["again"] = out  # applied to its own output: what stands between the ends is not all
            seen.setdefault("out", out.clone())

        hooks = [module.get_submodule(self.out).register_forward_hook(keep)]
        for role in ("query", "key", "value"):
            part: nn.Module = module.get_submodule(getattr(self, role))
            hooks.append(part.register_forward_pre_hook(_noting(seen, role)))
            hooks.append(part.register_forward_hook(_noting_result(seen, f"{role} made")))
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def reading(self, outcome: Outcome, seen: dict[str, Tensor], layout: str) -> Reading:
        """The output and the inputs of the attention between, where all were seen as (batch, length, width)."""
        if not outcome.ok or "again" in seen or any(name not in seen for name in ROLES):
            return Reading(outcome)
        layout = LAYOUTS.get(bool(seen.get("first")), layout) if self.whole else layout
        found = [from_user(seen[name].detach().float(), layout, flat=True) for name in ROLES]
        if any(x is None or x.ndim not in (2, 3) for x in found):
            return Reading(outcome)
        texts = found[-1].shape[0]  # type: ignore[union-attr]
        q, k, v, out = (x.expand(texts, -1, -1) if x.ndim == 2 or len(x) == 1 else x for x in found if x is not None)
        if q.ndim + k.ndim + v.ndim + out.ndim != 12:
            return Reading(outcome)
        twice = tuple(
            role
            for role in ROLES[:3]
            for other in ROLES[:3]
            if getattr(self, role) != getattr(self, other) and _equal(seen[role], seen.get(f"{other} made"))
        )
        return Reading(outcome, out, None, saw=(q, k, v), twice=twice)

    def __str__(self) -> str:
        if self.whole:
            return f"inside {self.whole}"
        return f"between the input of {self.query} and the output of {self.out}"
