"""A pass that starts in the middle of the model.

An edit of layer l changes nothing before layer l. So what every block (a layer with its attention, norms and MLP) returned is kept from one
pass of the text without edits, and in later passes the blocks before layer l return that, once for every row of a batch, in the place of running.
All the rest of the model (masks, rotary tables, the final norm, the head) runs as always, so nothing of an architecture is repeated here.

Blocks are the members of the outermost list of modules that holds attention. Whether a model can be run so is not believed but tried
(`measure.py`): without an edit, the logits must be those of a whole pass.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from attnscope.editing.desk import DESK

Calls = Sequence[tuple[str, bool]]  # of attention: module path, cross attention or not


@dataclass(frozen=True, eq=False)
class Ran:
    """One run of a block in a pass: its attention calls are `begin` to `end` of the pass, and it returned `output`."""

    block: nn.Module
    begin: int
    end: int
    output: Any = field(repr=False)


@dataclass(eq=False)
class Kept:
    """What a pass of one row left behind: the `runs` of its blocks, in order, and all its attention `calls`."""

    runs: list[Ran] = field(default_factory=list)
    calls: tuple[tuple[str, bool], ...] = ()

    def before(self, call: int) -> int:
        """How many blocks had ended when a call was made. `call`: its place in the pass."""
        return sum(ran.end <= call for ran in self.runs)


def blocks_of(model: nn.Module, paths: Sequence[str]) -> list[nn.Module]:
    """The blocks of a model; empty where some attention is in none. `paths`: of the modules that attend."""
    found: dict[int, nn.Module] = {}
    for path in paths:
        parent, above = _outermost_list(model, path)
        if parent is None:
            return []
        found |= {id(child): child for child in above.children()}
    return [*found.values()]


def _outermost_list(model: nn.Module, path: str) -> tuple[nn.Module | None, nn.Module]:
    """The first list of modules on the way to a path; and itself."""
    module = model
    for part in path.split("."):
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            return module, module
        module = module.get_submodule(part)
    return None, module


@contextmanager
def keeping(model: nn.Module, blocks: Sequence[nn.Module], order: Callable[[], Calls]) -> Iterator[Kept]:
    """A with block in which one pass runs, and what its blocks return is kept. `order`: the attention calls of the pass so far."""
    kept = Kept()

    def keep(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            begin = len(order())
            output = forward(*args, **named)
            kept.runs.append(Ran(block, begin, len(order()), _each(output, lambda x: x.detach().clone())))
            return output

        return run

    def ended(*_: Any) -> None:
        kept.calls = tuple(order())

    hook = model.register_forward_hook(ended)
    try:
        with _forwards(blocks, keep):
            yield kept
    finally:
        hook.remove()


@contextmanager
def from_block(kept: Kept, first: int, rows: int) -> Iterator[None]:
    """A with block in which one pass runs, of `rows` equal rows, whose first `first` runs of blocks return what was kept."""
    if not first:
        yield
        return
    number = -1

    def replay(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            nonlocal number
            number += 1
            if number >= first:
                return forward(*args, **named)
            ran = kept.runs[number]
            DESK.skipped(block, kept.calls[ran.begin : ran.end])
            last = number == first - 1  # the blocks that follow may write into what they get
            return _each(ran.output, lambda x: _widened(x, rows, own=last))

        return run

    with _forwards([*{id(ran.block): ran.block for ran in kept.runs}.values()], replay):
        yield


def _widened(x: Tensor, rows: int, own: bool) -> Tensor:
    """One row as a batch of `rows`. `own`: in memory of its own."""
    if not x.ndim:
        return x
    if len(x) != 1:  # windows or tokens of the row, one after another
        return x.repeat(rows, *[1] * (x.ndim - 1))
    wide = x.expand(rows, *x.shape[1:])
    return wide.clone() if own else wide


def _each(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure of other tensors."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, tuple):
        made = [_each(one, change) for one in output]
        return type(output)(*made) if hasattr(output, "_fields") else tuple(made)
    if isinstance(output, list):
        return [_each(one, change) for one in output]
    if isinstance(output, Mapping):
        return type(output)(**{name: _each(one, change) for name, one in output.items()})
    return output


@contextmanager
def _forwards(
    modules: Sequence[nn.Module], make: Callable[[nn.Module, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Another forward in some modules."""
    before = [(module, vars(module).get("forward")) for module in modules]
    try:
        for module in modules:
            module.forward = make(module, module.forward)
        yield
    finally:
        for module, own in before:
            vars(module).pop("forward", None)
            if own is not None:
                module.forward = own
