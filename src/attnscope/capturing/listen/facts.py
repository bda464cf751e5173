"""What the modules of a model are, looked up once: a short text's trace should cost little more than its forward pass.

A model may be changed between two captures (an adapter added, a layer replaced, a module compiled), so what is known is
used only while the model looks the same: the same modules under the same names, of the same classes, with as many
attributes. Nothing here keeps a model or a module alive.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import nn

from attnscope.capturing.listen.detect import attends_itself, looks_like_attention, may_be_asked
from attnscope.tracing.modules import modules_of

ModuleRef = Any  # weakref.ref[nn.Module]


@dataclass(frozen=True)
class Facts:
    """`paths`: of every module, by its id. `compiled`: whether torch.compile made some of it. `calls_torch`: whether
    some module attends without transformers' interface. The others: modules that look like attention, with their paths, and those of them that may be asked for their weights;
    and, learned from captures, the layers that took the output of a module's attention, by its path, and the pass with the most calls
    (`passes`, under "widest")."""

    paths: Mapping[int, str]
    compiled: bool
    calls_torch: bool
    _asked: tuple[tuple[str, ModuleRef], ...]
    _attention_like: tuple[tuple[str, ModuleRef], ...]
    _tables: tuple[tuple[str, ModuleRef], ...]
    projections: dict[str, tuple[ModuleRef, ...]] = field(default_factory=dict, compare=False)
    passes: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def may_attend(self) -> bool:
        """Whether there is anything that a capture could see: by class names, else by what the code calls."""
        return bool(self._attention_like) or self.calls_torch

    def trunk(self, model: nn.Module) -> list[nn.Module]:
        """The model, and the modules inside it that hold all of its attention: where one of them is entered again while it
        runs, it was given another text."""
        parents = [path.split(".")[:-1] for path, _ in self._attention_like]
        found = [model]
        for names in zip(*parents, strict=False):
            if len(set(names)) > 1:
                break
            found.append(found[-1].get_submodule(names[0]))
        return found

    def attention_like(self) -> Iterator[tuple[str, nn.Module]]:
        return ((path, module) for path, one in self._attention_like if (module := one()) is not None)

    def may_be_asked(self) -> list[tuple[str, nn.Module]]:
        """Modules that look like attention, hold layers of their own, and attend in a way that nothing may see."""
        return [(path, module) for path, one in self._asked if (module := one()) is not None]

    def token_tables(self) -> Iterator[tuple[str, nn.Module]]:
        """The tables of token vectors, of every tower, with their paths."""
        return ((path, module) for path, one in self._tables if (module := one()) is not None)


_known: WeakKeyDictionary[nn.Module, tuple[Any, Facts]] = WeakKeyDictionary()


def facts_of(model: nn.Module) -> Facts:
    """What is known of the model as it is now."""
    looks = _looks(model)
    known = _known.get(model)
    if known is None or known[0] != looks:
        known = _known[model] = looks, _facts(model)
    return known[1]


def attended_before(model: nn.Module) -> bool:
    """Whether the model could attend when it was last read; it may have been changed since."""
    known = _known.get(model)
    return known is not None and known[1].may_attend


def _facts(model: nn.Module) -> Facts:
    modules = [*model.named_modules()]
    return Facts(
        paths={id(module): path for path, module in modules},
        compiled=any(
            "_orig_mod" in module._modules or vars(module).get("_compiled_call_impl") is not None
            for _, module in modules
        ),
        calls_torch=any(attends_itself(module) for _, module in modules),
        _asked=tuple((path, ref(module)) for path, module in modules if may_be_asked(module)),
        _attention_like=tuple((path, ref(module)) for path, module in modules if looks_like_attention(module)),
        _tables=tuple((path, ref(module)) for path, module in _token_tables(modules)),
    )


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


def _looks(model: nn.Module) -> tuple[list[Any], ...]:
    """Ids, classes, names and counts of attributes of all modules: cheap to make, and another one after a change."""
    modules = modules_of(model)
    names = [name for module in modules for name in module._modules]
    return [*map(id, modules)], [*map(type, modules)], names, [*map(len, map(vars, modules))]
