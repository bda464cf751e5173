"""Finds W_O by data: the layer whose only input is a site's output, the same storage or a copy of it.

No table of names: BERT keeps its W_O outside the attention module, others call it o_proj, out_proj, c_proj, dense …
A gate or a norm between attention and the linear layer makes a new tensor, and then there rightly is no W_O. What wraps
the linear layer (an adapter, say) takes the same input, and belongs to the projection.

The first capture of a model looks at all its modules. Which ones took the output is remembered, and later captures look
at those alone, until one of them does not take it any more.
"""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.facts import Facts
from attnscope.tracing.modules import is_linear, modules_of
from attnscope.tracing.output_projection import Projection

WRITTEN_ROWS = 4


class Took(NamedTuple):
    """What took the heads' output: a `module`, or a `projection` where torch's own function names it; neither where several
    layers took it. `written`: what that returned for a few rows, [B, R, M]. `dtype`: of what it was given."""

    module: nn.Module | None
    written: Tensor | None
    dtype: torch.dtype
    projection: Projection | None = None


_Found = Callable[[Took], None]


@functools.lru_cache(maxsize=8)
def written_rows(queries: int) -> Tensor:
    """The query rows of which is kept what the output projection returned."""
    return torch.linspace(0, queries - 1, min(queries, WRITTEN_ROWS)).round().long().unique()


@dataclass
class _Waiting:
    """A call whose output was not taken yet, or just now. Holding `output`, [B, Q, H, Dv], keeps its storage from being
    given to another tensor until then; `taken` is what the first taker was given. `instead`: a tensor that no layer should take, and
    whom to call where one does."""

    path: str
    output: Tensor | None
    shape: torch.Size
    strides: tuple[int, ...]
    found: _Found
    takers: list[tuple[nn.Module, Took]]
    taken: Callable[[], Tensor | None] = lambda: None
    instead: tuple[Tensor, Callable[[], None]] | None = None

    def is_given(self, x: Tensor) -> bool:
        if self.output is not None:
            return _same(x, self.output)
        taken = self.taken()
        return taken is not None and _share(x, taken)


class ProjectionFinder:
    """Watches the layers of a `model` that may take the output of its attention, while a capture is open."""

    def __init__(self, model: nn.Module, facts: Facts) -> None:
        self._model, self._known = model, facts.projections
        self._waiting = threading.local()
        self._handles: list[Any] = []
        self._hooked: set[int] = set()
        self._projects: set[int] = set()
        self._watched: set[str] = set()  # paths of attention whose takers have hooks
        self._all = False
        for path in [*self._known]:
            self._watch(path)

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._hooked, self._watched, self._all = [], set(), set(), False

    def expect(
        self,
        path: str,
        output: Tensor,
        found: _Found,
        instead: tuple[Tensor, Callable[[], None]] | None = None,
    ) -> None:
        """Call `found` with what takes `output`, [B, Q, H, Dv], of the module at this path next in this thread, and again
        where a module around it turns out to belong to it; only the latest call waits. `instead`: of an edited output what
        it was before, and whom to call where that is taken."""
        self.forget()
        if path not in self._watched and not self._all and not self._watch(path):
            self._all = True
            self._hook(modules_of(self._model))
        self._waiting.entry = _Waiting(path, output, output.shape, output.stride(), found, [], instead=instead)

    def forget(self) -> None:
        entry: _Waiting | None = getattr(self._waiting, "entry", None)
        self._waiting.entry = None
        if entry is not None and not entry.takers:
            self._known.pop(entry.path, None)  # it goes elsewhere by now: the next capture looks at all modules again
            self._watched.discard(entry.path)

    def _watch(self, path: str) -> bool:
        """Hook into the layers that took the output of this attention before; False where none is known."""
        known = [one() for one in self._known.get(path, ())]
        if not known or None in known:
            return False
        self._hook(known)  # type: ignore[arg-type]
        self._projects.update(map(id, known))
        self._watched.add(path)
        return True

    def _hook(self, modules: list[nn.Module]) -> None:
        for module in modules:
            if id(module) not in self._hooked:
                self._hooked.add(id(module))
                self._handles.append(module.register_forward_hook(self._after, with_kwargs=True))

    def _after(self, module: nn.Module, args: tuple[Any, ...], *more: Any) -> None:
        # Torch puts a hook into one table and "with kwargs" into another: a pass of another thread may come between.
        kwargs, output = more if len(more) == 2 else ({}, more[0])
        entry: _Waiting | None = getattr(self._waiting, "entry", None)
        if entry is None or not isinstance(output, Tensor):
            return
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if entry.instead is not None and not entry.takers and len(given) == 1 and _same(given[0], entry.instead[0]):
            entry.instead[1]()
        if len(given) != 1 or not entry.is_given(given[0]) or _share(output, given[0]):
            return
        if id(module) not in self._projects and not any(map(may_project, modules_of(module))):
            return
        self._projects.add(id(module))
        took = Took(module, _sample(given[0], output, entry), given[0].dtype)
        entry.output, entry.taken = None, ref(given[0])
        inside = {id(part) for part in modules_of(module)} if entry.takers else ()
        entry.takers = [taker for taker in entry.takers if id(taker[0]) not in inside] + [(module, took)]
        takers = tuple(ref(taker) for taker, _ in entry.takers)
        if self._known.get(entry.path) != takers:
            self._known[entry.path] = takers
        # Where two layers take it, neither returns the whole of what the heads write.
        entry.found(took if len(entry.takers) == 1 else Took(None, None, took.dtype))


def may_project(module: nn.Module) -> bool:
    """Whether this is a linear layer, of torch or by its name (quantised ones have classes of their own)."""
    return is_linear(module) or "linear" in type(module).__name__.lower()


def _sample(x: Tensor, output: Tensor, entry: _Waiting) -> Tensor | None:
    """A few rows of a layer's output, [B, R, M]; None where it has no such axes. `x`: its input."""
    batch, queries, heads, size = entry.shape
    *axes, width = x.shape
    if width != heads * size or [*output.shape[:-1]] != axes:
        return None
    if axes == [batch * queries]:
        output = output.unflatten(0, (batch, queries))
    elif axes == [queries, batch] and (queries != batch or x.stride()[:2] == entry.strides[1::-1]):
        output = output.transpose(0, 1)
    elif axes != [batch, queries]:
        return None
    output = output.detach() if output.requires_grad else output
    rows = written_rows(queries)
    return output.index_select(1, rows if output.is_cpu else rows.to(output.device))


def _share(x: Tensor, other: Tensor) -> bool:
    """Whether they share their storage."""
    if x is other or x.data_ptr() == other.data_ptr() != 0:
        return True
    return x.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _same(x: Tensor, output: Tensor) -> bool:
    """Whether `x` is the `output`: by its storage, or by its values where heads were joined into a copy (GPT-2,
    eager).
    """
    if _share(x, output):
        return True
    return (
        x.shape[-1] == output.shape[-1] * output.shape[-2]
        and x.numel() == output.numel()
        and torch.equal(x.reshape(output.shape), output)
    )
