"""Watches a model for its residual streams: where its blocks begin and end, who made what is written, what predicts."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils.weak import WeakTensorKeyDictionary

from attnscope.capturing.listen.facts import Facts
from attnscope.capturing.read.attention_call import is_cross
from attnscope.capturing.stream.trail import CAPPED, PROJECTED, STREAM, StreamTrail
from attnscope.tracing.frozen import Scale
from attnscope.tracing.stream import Head, Join, Label, Node, Returned, Stream

LOGIT_BYTES = 16_000_000  # of the model's own logits, which the receipt compares with
NO_LOGITS = (
    "this model returns no logits: load it with a head (task=…); of sentence embeddings, ask for trace.similarity(…)"
)
NOT_LINEAR = (
    "what this model returns is no linear function of its residual stream, even with its norms frozen: a function that bends "
    "stands between (the transform of a masked language model, the tanh of a pooler)"
)


@dataclass(eq=False)
class _Stack:
    """A list of blocks while it runs. `broken`: why its stream could not be followed."""

    path: str
    states: list[Node] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    queries: dict[tuple[str, int], tuple[Node | None, Node | None]] = field(default_factory=dict)
    length: int = 0
    broken: str = ""


@dataclass(frozen=True, eq=False)
class Watched:
    """The stream of one list of blocks in a pass. `broken`: why there is none."""

    path: str
    stream: Stream | None
    broken: str = ""


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
    """Hooks and a trail on a model, in the thread that opened them. `positions`: of the tokens to keep; None: all."""

    def __init__(self, model: nn.Module, facts: Facts, positions: Sequence[int] | None = None) -> None:
        self._model, self._positions = model, positions
        self._attention = [path for path, _ in facts.attention_like()]
        self._trail = StreamTrail(self._label, positions)
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
            if not self._here:
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
        self, path: str, call: int, cross: bool, causal: bool, query: Tensor, key: Tensor, z: Tensor, direct: bool
    ) -> None:
        """An attention has run: `query` [B, H, Q, D] and `key` went in, `z` [B, Q, H, Dv] came out. `causal`: no query sees a later
        key. `direct`: the function that returns it still runs."""
        if not (self._here and self._running):
            return
        self._causal = causal if not cross else self._causal
        layer, stack = self._running[-1][1], self._stacks[self._running[-1][0]]
        label = Label("heads", layer, cross, path, call)
        # the call of a direct one has views of what the function was given
        refs = self._trail.scored if direct else (self._trail.of(query), self._trail.of(key))
        known = [
            ref.node if ref is not None and ref.flow == PROJECTED and len(ref.node.width) == 2 else None for ref in refs
        ]
        stack.queries[path, call] = known[0], known[1]
        self._trail.scored = None, None
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
        if stack.broken:
            return Watched(stack.path, None, stack.broken)
        first, last = stack.states[0], stack.states[-1]
        final, head, why = last, None, NO_LOGITS
        for name, tensor in _tensors(output):
            ref = self._trail.of(tensor)
            made = ref is not None and _made_of(ref.node, last)
            if ref is not None and made and ref.flow == STREAM:
                final = ref.node
                if final.seen is None:
                    final.seen = self._trail.keep(ref, tensor)
            elif ref is not None and made and ref.flow in (PROJECTED, CAPPED):
                head, final = self._head(ref, last)
                break
            elif "logits" in name:
                why = NOT_LINEAR
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
                tuple(stack.joins),
                final,
                head,
                "" if head else why,
                self._returned(output, stack.length) if last_stack else None,
                next((tensor.dtype for _, tensor in _tensors(output)), torch.float32),
                queries=stack.queries,
            ),
        )

    def _head(self, ref: Any, last: Node) -> tuple[Head, Node]:
        cap = None
        if ref.flow == CAPPED:
            step = ref.node.inputs[0][1]
            cap = float(step.factor) if isinstance(step, Scale) and not isinstance(step.factor, Tensor) else None
        final = ref.node
        while final.flow != STREAM:
            final = final.inputs[0][0]
        normed = final
        while normed not in self._norms and normed is not last and len(normed.inputs) == 1:
            normed = normed.inputs[0][0]  # T5 scales what its norm returns
        path, before = self._norms.get(normed, ("", None))
        norm = self._model.get_submodule(path) if before is last else None
        return Head(ref.node, cap, norm, last, normed), final

    def _returned(self, output: Any, length: int) -> Returned | None:
        """The logits in what the model returned, of the last stack that ran. `length`: of its stream."""
        logits = next((x for name, x in _tensors(output) if name in ("logits", "prediction_logits")), None)
        if logits is None or logits.ndim not in (2, 3):
            return None
        config: Any = getattr(self._model, "config", None)
        names = getattr(config, "id2label", None) or {}
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        words = logits.shape[-1] == getattr(config, "vocab_size", None) or logits.shape[-1] > len(names)
        labels = () if words else tuple(str(names.get(i, i)) for i in range(logits.shape[-1]))
        if logits.ndim == 2:
            return Returned("label", logits.detach().float().clone(), None, labels)
        if logits.shape[1] != length:
            return None
        kept = logits.detach() if self._positions is None else logits.detach()[:, list(self._positions)]
        most, count = max(1, LOGIT_BYTES // (kept[:, 0].numel() * 4)), kept.shape[1]
        rows = torch.arange(count) if count <= most else torch.linspace(0, count - 1, most).round().long().unique()
        task = "label" if not words else "next" if self._causal else "fill"
        return Returned(task, kept[:, rows.to(kept.device)].float().clone(), rows, labels)


def _tensors(output: Any) -> list[tuple[str, Tensor]]:
    """What a model returned, by name."""
    if isinstance(output, Tensor):
        return [("", output)]
    items = output.items() if hasattr(output, "items") else ((str(i), one) for i, one in enumerate(output or ()))
    return [(name, one) for name, one in items if isinstance(one, Tensor) and one.is_floating_point()]


def _made_of(node: Node, wanted: Node) -> bool:
    """Whether `wanted` is on the way to a node."""
    waiting, seen = [node], set()
    while waiting:
        one = waiting.pop()
        if one is wanted:
            return True
        if id(one) not in seen and one.serial > wanted.serial:
            seen.add(id(one))
            waiting += [before for before, _ in one.inputs]
    return False
