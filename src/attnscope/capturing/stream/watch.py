"""Watches a model for its residual streams: where its blocks begin and end, who made what is written, what predicts."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils.weak import WeakTensorKeyDictionary

from attnscope.capturing.listen.facts import Facts
from attnscope.capturing.read.attention_call import is_cross
from attnscope.capturing.stream.layout import CAPPED, PROJECTED, STREAM
from attnscope.capturing.stream.returned import (
    NO_LOGITS,
    NOT_LINEAR,
    head_of,
    is_made_of,
    returned_by,
    tensors_of,
)
from attnscope.capturing.stream.room import ALL, Room
from attnscope.capturing.stream.trail import StreamTrail
from attnscope.tracing.stream import Join, Label, Node, Stream, reached


@dataclass(eq=False)
class _Stack:
    """A list of blocks while it runs. `broken`: why its stream could not be followed."""

    path: str
    states: list[Node] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    attended: dict[tuple[str, int], tuple[Node | None, Node | None, Node | None]] = field(default_factory=dict)
    length: int = 0
    broken: str = ""


@dataclass(frozen=True, eq=False)
class Watched:
    """The stream of one list of blocks in a pass. `broken`: why there is none; "" where there was no room. `length`: its tokens."""

    path: str
    stream: Stream | None
    broken: str = ""
    length: int = 0


def blocks_of(facts: Facts) -> dict[str, list[str]]:
    """The paths of the blocks that hold the attention of a model, by the path of their list: the first number in a path counts
    them."""
    found: dict[str, list[str]] = {}
    for path, _ in facts.attention_like():
        names = path.split(".")
        at = next((place for place, name in enumerate(names) if name.isdigit()), None)
        if at is not None:
            blocks = found.setdefault(".".join(names[:at]), [])
            block = ".".join(names[: at + 1])
            if block not in blocks:
                blocks.append(block)
    return found


class StreamWatcher:
    """Hooks and a trail on a model, in the thread that opened them. `room`: how much is kept."""

    def __init__(self, model: nn.Module, facts: Facts, room: Room = ALL) -> None:
        self._model, self._positions = model, room.positions
        self._attention = [path for path, _ in facts.attention_like()]
        self._trail = StreamTrail(self._label, room)
        self._thread = threading.get_ident()
        self._stacks: dict[str, _Stack] = {}
        self._running: list[tuple[str, int, str]] = []
        self._causal = False
        self._made: Any = WeakTensorKeyDictionary()
        self._modules: list[str] = []
        self._norms: dict[Node, tuple[str, Node]] = {}
        self._handles: list[Any] = []
        lists = blocks_of(facts)
        blocks = {block: path for path, several in lists.items() for block in several}
        for path, module in model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._entered(path), with_kwargs=True))
            if path in blocks:
                hook = self._begins(blocks[path], path, lists[blocks[path]][0])
                self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            ends = self._ends(blocks[path]) if path in blocks else None
            self._handles.append(module.register_forward_hook(self._left(path, ends), with_kwargs=True))

    def listen(self) -> None:
        """Begin to follow: above the function mode that records attention, which tells what its function returns."""
        self._trail.__enter__()

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._thread = threading.get_ident()
        self.forget()
        above = []
        while self._trail in _get_current_function_mode_stack():  # captures may overlap without nesting
            if (popped := _pop_mode()) is not self._trail:
                above.append(popped)
        for other in reversed(above):
            _push_mode(other)

    def forget(self) -> None:
        """The pass has ended."""
        if not self._here:
            return
        self._trail.forget()
        self._stacks, self._running, self._modules, self._norms = {}, [], [], {}

    # --- while the model runs -------------------------------------------------------------------------------------

    @property
    def _here(self) -> bool:
        return threading.get_ident() == self._thread

    def _entered(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, *_: Any) -> None:
            if self._here:
                self._modules.append(path)

        return hook

    def _left(self, path: str, ends: Callable[[Any], None] | None) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if not self._here:
                return
            while self._modules and self._modules.pop() != path:
                pass  # a module that broke off
            if isinstance(output, Tensor):
                self._made.setdefault(output, []).append(path)
                given = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None)
                before, after = self._trail.of(given), self._trail.of(output)
                if before is not None and after is not None and after.flow == STREAM == before.flow:
                    self._norms.setdefault(after.node, (path, before.node))
            elif isinstance(output, tuple) and output and isinstance(output[0], Tensor):
                self._made.setdefault(output[0], []).append(path)
            if ends is not None:
                ends(output)

        return hook

    def _begins(self, path: str, block: str, first: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._here or self._trail.full:
                return
            stack = self._stacks.setdefault(path, _Stack(path))
            self._running.append((path, max(0, len(stack.states) - 1) if stack.states else 0, block))
            x = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor) and one.ndim == 3), None)
            if stack.broken:
                return
            if x is None:
                stack.broken = f"{block} is not given one tensor [batch, tokens, width]"
            elif not stack.states and block != first:
                stack.broken = f"{block} ran before {first}"
            elif not stack.states:
                stack.states.append(self._trail.begin(x, Label("embedding", path=path)).node)
                stack.length = x.shape[1]
            elif (ref := self._trail.of(x)) is None or ref.flow != STREAM:
                stack.broken = f"what {block} is given is no sum that could be followed"

        return hook

    def _ends(self, path: str) -> Callable[[Any], None]:
        def ends(output: Any) -> None:
            stack = self._stacks.get(path)
            if stack is None or not self._running:
                return  # a pass inside this one has ended meanwhile
            *_, block = self._running.pop()
            several = output if isinstance(output, (tuple, list)) else (output,)
            x = next((one for one in several if isinstance(one, Tensor)), None)
            ref = self._trail.of(x)
            if ref is None or ref.flow != STREAM:
                stack.broken = stack.broken or f"what {block} returns is no sum that could be followed"
            else:
                stack.states.append(ref.node)
            stack.joins += self._trail.joins
            self._trail.joins = []

        return ends

    def _label(self, x: Tensor | None) -> Label:
        """What a tensor is that is written now."""
        module = self._modules[-1] if self._modules else ""
        if not self._running:
            return Label("bias" if x is None else "embedding", path=module)
        _, layer, block = self._running[-1]
        if x is None:
            return Label("bias", layer, path=module, shared=True)
        for path in self._made.get(x, ()):
            near = next((one for one in self._attention if self._within(path, one, block)), None)
            if near is not None:
                return Label("attention", layer, is_cross(self._model.get_submodule(near), near), path)
        return Label("mlp", layer, path=(self._made.get(x) or [module])[0])

    @staticmethod
    def _within(path: str, attention: str, block: str = "") -> bool:
        """Whether a module is an attention, a part of one, or what holds one inside a block."""
        inside = path == attention or path.startswith(attention + ".")
        return inside or (bool(block) and path.startswith(block + ".") and attention.startswith(path + "."))

    def attended(
        self,
        path: str,
        call: int,
        cross: bool,
        causal: bool,
        given: tuple[Tensor, Tensor, Tensor],
        z: Tensor,
        direct: bool,
    ) -> None:
        """An attention has run: q [B, H, Q, D], k and v were `given`, `z` [B, Q, H, Dv] came out. `causal`: no query sees a later
        key. `direct`: the function that returns it still runs."""
        if not (self._here and self._running) or self._trail.full:
            return
        self._causal = causal if not cross else self._causal
        layer, stack = self._running[-1][1], self._stacks[self._running[-1][0]]
        label = Label("heads", layer, cross, path, call)
        # the call of a direct one has views of what the function was given
        refs = self._trail.scored if direct else tuple(map(self._trail.of, given))
        known = [
            ref.node if ref is not None and ref.flow == PROJECTED and len(ref.node.width) == 2 else None for ref in refs
        ]
        stack.attended[path, call] = known[0], known[1], known[2]
        self._trail.scored = None, None, None
        if direct:
            self._trail.next_is(label)
        else:
            self._trail.heads(z, label)

    # --- when it has run ------------------------------------------------------------------------------------------

    def streams(self, output: Any) -> tuple[Watched, ...]:
        """Those of the pass that has just ended. `output`: what the model returned."""
        return tuple(self._stream(stack, output) for stack in self._stacks.values()) if self._here else ()

    def _stream(self, stack: _Stack, output: Any) -> Watched:
        if not stack.broken and len(stack.states) < 2:
            stack.broken = f"the blocks of {stack.path} did not run whole"
        if stack.broken or self._trail.full:
            return Watched(stack.path, None, "" if self._trail.full else stack.broken)
        first, last = stack.states[0], stack.states[-1]
        final, head, why, picked = last, None, NO_LOGITS, None
        for name, tensor in tensors_of(output):
            ref = self._trail.of(tensor)
            made = ref is not None and is_made_of(ref.node, last)
            if ref is not None and made and ref.flow == STREAM and ref.picked is None:
                final = ref.node
                if final.seen is None:
                    final.seen = self._trail.keep(ref, tensor)
            elif ref is not None and made and ref.flow in (PROJECTED, CAPPED):
                head, final = head_of(ref, last, self._model, self._norms)
                picked = ref.picked
                break
            elif "logits" in name:
                why = NOT_LINEAR
        way = {
            *reached([final, *stack.states])
        }  # not what is added on the side, as DETR adds places to what q and k are made of
        positions = self._positions
        kept = first.value.shape[1] if first.value is not None else 0
        last_stack = stack is [*self._stacks.values()][-1]
        return Watched(
            stack.path,
            Stream(
                None,
                stack.path,
                tuple(range(kept)) if positions is None else tuple(positions),
                tuple(stack.states),
                tuple(join for join in stack.joins if join.after in way),
                final,
                head,
                "" if head else why,
                returned_by(output, self._model, self._positions, stack.length, self._causal, picked)
                if last_stack
                else None,
                next((tensor.dtype for _, tensor in tensors_of(output)), torch.float32),
                attended=stack.attended,
            ),
            length=stack.length,
        )
