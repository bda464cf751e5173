"""What the modules of a model are for a capture, found once (`attnscope.tracing.modules`). Nothing here keeps a model or a
module alive.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

from torch import nn

from attnscope.capturing.listen.detect import attends_itself, looks_like_attention, may_be_asked
from attnscope.tracing.modules import Look, ModuleRef, look_at


@dataclass(frozen=True)
class Facts:
    """`paths`: of every module, by its id. `compiled`: whether torch.compile made some of it. `calls_torch`: whether
    some module attends without transformers' interface. The others: modules that look like attention, with their paths, and those of them that may be asked for their weights;
    and, learned from captures, the layers that took the output of a module's attention, by its path, and the pass with the most calls
    (`passes`, under "widest")."""

    paths: Mapping[int, str]
    compiled: bool
    calls_torch: bool
    _trunk: tuple[ModuleRef, ...]
    _asked: tuple[tuple[str, ModuleRef], ...]
    _attention_like: tuple[tuple[str, ModuleRef], ...]
    _tables: tuple[tuple[str, ModuleRef], ...]
    projections: dict[str, tuple[ModuleRef, ...]] = field(default_factory=dict, compare=False)
    passes: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def may_attend(self) -> bool:
        """Whether there is anything that a capture could see: by class names, else by what the code calls."""
        return bool(self._attention_like) or self.calls_torch

    def trunk(self) -> list[nn.Module]:
        """The model, and the modules inside it that hold all of its attention: where one of them is entered again while it
        runs, it was given another text."""
        return [module for one in self._trunk if (module := one()) is not None]

    def attention_like(self) -> Iterator[tuple[str, nn.Module]]:
        return ((path, module) for path, one in self._attention_like if (module := one()) is not None)

    def may_be_asked(self) -> list[tuple[str, nn.Module]]:
        """Modules that look like attention, hold layers of their own, and attend in a way that nothing may see."""
        return [(path, module) for path, one in self._asked if (module := one()) is not None]

    def token_tables(self) -> Iterator[tuple[str, nn.Module]]:
        """The tables of token vectors, of every tower, with their paths."""
        return ((path, module) for path, one in self._tables if (module := one()) is not None)


def facts_of(model: nn.Module, look: Look | None = None) -> Facts:
    """What is known of the model as it is now. `look`: at it, where you have just had one."""
    known = (look or look_at(model)).known
    if "facts" not in known:
        known["facts"] = _facts(model)
    return known["facts"]


def _facts(model: nn.Module) -> Facts:
    modules = [*model.named_modules()]
    attention_like = [(path, module) for path, module in modules if looks_like_attention(module)]
    trunk = _trunk(model, [path for path, _ in attention_like])
    return Facts(
        paths={id(module): path for path, module in modules},
        compiled=any(
            "_orig_mod" in module._modules or vars(module).get("_compiled_call_impl") is not None
            for _, module in modules
        ),
        calls_torch=any(attends_itself(module) for _, module in modules),
        _trunk=tuple(map(ref, trunk)),
        _asked=tuple((path, ref(module)) for path, module in modules if may_be_asked(module)),
        _attention_like=tuple((path, ref(module)) for path, module in attention_like),
        _tables=tuple((path, ref(module)) for path, module in _token_tables(modules)),
    )


def _trunk(model: nn.Module, attention_like: Sequence[str]) -> list[nn.Module]:
    found = [model]
    for names in zip(*(path.split(".")[:-1] for path in attention_like), strict=False):
        if len(set(names)) > 1:
            break
        found.append(found[-1].get_submodule(names[0]))
    return found


def _token_tables(modules: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    paths = {id(module): (path, module) for path, module in modules}
    found: dict[int, tuple[str, nn.Module]] = {}
    for _, module in modules:
        try:
            table = module.get_input_embeddings()  # type: ignore[operator]
        except Exception:  # has none, or does not say: an nn.Module raises AttributeError, models raise several kinds
            continue
        if id(table) in paths:
            found[id(table)] = paths[id(table)]
    return [*found.values()]
