"""Attention inside a larger module: a norm in front, a residual sum behind.

Where no recipe reproduces the whole module, forward hooks take what went into its projections and what came out of
its output projection, and the recipes are compared with the attention between the two.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from attnscope.doctor.code_check.run.outputs import Reading, to_user
from attnscope.doctor.code_check.run.projections import Projections
from attnscope.doctor.code_check.run.sandbox import Outcome


def _noting(seen: dict[str, Tensor], role: str) -> Callable[[nn.Module, tuple], None]:
    """A hook that keeps the first input of a part under `role`."""

    def hook(_: nn.Module, args: tuple) -> None:
        if args:
            seen.setdefault(role, args[0])

    return hook


@dataclass(frozen=True)
class Ends:
    """Paths of the modules that project to queries, keys, values, and from the heads' outputs."""

    query: str
    key: str
    value: str
    out: str

    @classmethod
    def of(cls, projections: Projections | None) -> "Ends | None":
        """None where one of them is no module of its own (a bare parameter, a list of heads)."""
        paths = projections.paths if projections else {}
        roles = (("q", "qkv"), ("k", "kv", "qkv"), ("v", "kv", "qkv"), ("o",))
        found = [next((paths[role] for role in one if role in paths), None) for one in roles]
        return None if None in found else cls(*found)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def watched(self, module: Any) -> Iterator[dict[str, Tensor]]:
        """What the ends see while the module runs: "query", "key", "value" going in, "out" coming out."""
        seen: dict[str, Tensor] = {}
        hooks = [module.get_submodule(self.out).register_forward_hook(lambda _, args, out: seen.setdefault("out", out))]
        for role in ("query", "key", "value"):
            part: nn.Module = module.get_submodule(getattr(self, role))
            hooks.append(part.register_forward_pre_hook(_noting(seen, role)))
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def reading(self, outcome: Outcome, seen: dict[str, Tensor], layout: str) -> Reading:
        """The output and the inputs of the attention between, where all were seen as (batch, length, width)."""
        if not outcome.ok or len(seen) < 4 or any(x.ndim != 3 for x in seen.values()):
            return Reading(outcome)
        q, k, v, out = (to_user(seen[name].detach().float(), layout) for name in ("query", "key", "value", "out"))
        return Reading(outcome, out, None, saw=(q, k, v))

    def __str__(self) -> str:
        return f"between the input of {self.query} and the output of {self.out}"
