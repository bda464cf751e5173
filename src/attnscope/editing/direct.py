"""The direct effect of an edit: what the change of the edited heads' writes does to the logits by itself, with every norm frozen.

    direct = Σ over edited heads  ⟨z − z', what z is read with⟩        (attnscope.predictions.readout)

z is what the head made without the edit at the position that predicts, z' with it. The rest of the total goes through later layers, or comes from the
final norm, whose scale σ moves with the edit:

    total = direct + later layers + rescaling,     rescaling = total − ⟨x − x', what x is read with at the frozen σ⟩
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing import Recorder
from attnscope.capturing.read.stacks import Place
from attnscope.capturing.stream.room import Room
from attnscope.editing.measure import Question
from attnscope.errors import CaptureError, NotCaptured
from attnscope.predictions.readout import Readout, readout
from attnscope.predictions.streams import label_position, stream_of
from attnscope.tracing.stream import Head, forward
from attnscope.tracing.trace import Trace

PREDICTING = (
    None,
    "decoder",
    "cross",
    "language_model",
    "text",
)  # stacks whose heads may write into the stream that predicts

Written = Mapping[Place, tuple[tuple[int, ...], Float[Tensor, "H Dv"]]]


@dataclass(frozen=True)
class Direct:
    """`direct`: the effect; None where it cannot be told, and `why` says so. `rescaling`: what the final norm's scale adds to the total; None where there is no such
    norm. `capped`: whether a cap on the logits follows."""

    direct: float | None
    rescaling: float | None = None
    capped: bool = False
    why: str = ""


@dataclass
class DirectEffect:
    """Asks for the direct effect beside the two passes of an effect: `recorder` goes around the clean one, `watching` around the edited one.

    `model`: is asked. `at`: the position that predicts; None: not known before it has run.
    """

    model: nn.Module
    at: int | None
    recorder: Recorder = field(init=False)
    _trace: Trace | None = None
    _read: Readout | None = None
    _why: str = ""
    _edited: list[Tensor] = field(default_factory=list)
    _at: int = 0

    def __post_init__(self) -> None:
        positions = None if self.at is None else [self.at]
        self.recorder = Recorder(self.model, keep="stream", own_thread=True, room=Room(positions))

    def ask(self, question: Question, at: int) -> int:
        """The clean pass has run: how is the difference of two logits at position `at` read from it? Returns that position; of labels, the one that they are
        read from."""
        self._at = at
        if len(question.against) == 0:
            self._why = "direct and downstream need against=: a log-probability is no sum of what heads write"
            return at
        if question.target[0] == question.against[0]:
            self._why = "target and against begin with the same token, so the first prediction is the same; direct asks at the first token that differs"
            return at
        try:
            self._trace = self.recorder.trace()
            stream = stream_of(self._trace)
            if question.labels:
                self._at = label_position(stream)
            self._read = readout(stream, self._at, [question.target[0]], [question.against[0]])
        except (NotCaptured, CaptureError) as error:
            self._why = f"no direct effect: {error}"
        return self._at

    @property
    def _head(self) -> Head | None:
        return None if self._read is None else self._read.stream.head

    def watching(self) -> AbstractContextManager[Any]:
        """A with block around the edited pass: keeps what its final norm is given."""
        norm = None if self._head is None else self._head.norm
        return _Kept(norm, self._edited) if isinstance(norm, nn.Module) else nullcontext()

    def found(self, written: Written, total: float | None) -> Direct:
        """The direct effect of what was `written` in the edited pass. `total`: the total effect, where it is a difference of logits."""
        read, trace, head = self._read, self._trace, self._head
        if read is None or trace is None or head is None:
            return Direct(None, why=self._why)
        try:
            direct = sum(self._of(read, trace, place, heads, z) for place, (heads, z) in written.items())
        except NotCaptured as error:
            return Direct(None, why=f"no direct effect: {error}")
        rescaling = None
        if total is not None and self._edited and head.last in read.gradients:
            before = forward(head.last, read.stream.cut([self._at]))[0]
            after = self._edited[-1][0, self._at].float()
            change = before.to(after.device) - after
            rescaling = total - float((read.gradients[head.last][0, 0].to(after.device) * change).sum())
        return Direct(float(direct), rescaling, head.cap is not None)

    def _of(self, read: Readout, trace: Trace, place: Place, heads: tuple[int, ...], z: Float[Tensor, "H Dv"]) -> float:
        if place.stack not in PREDICTING:
            return 0.0  # of another stream
        site = next(one for one in trace.sites if (one.stack, one.layer) == (place.stack, place.layer))
        change = torch.zeros_like(z, dtype=torch.float32)
        own = list(heads)
        change[own] = site.output(None, [self._at])[own, 0].to(z.device) - z[own].float()
        return float(read.of_z(place.layer, change, site.kind == "cross")[0])


class _Kept:
    """A with block that keeps what a module is given."""

    def __init__(self, module: nn.Module, kept: list[Tensor]) -> None:
        self._module, self._kept = module, kept

    def __enter__(self) -> None:
        self._handle = self._module.register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, args: Any) -> None:
        if args and isinstance(args[0], Tensor):
            self._kept.append(args[0].detach())

    def __exit__(self, *_: Any) -> None:
        self._handle.remove()
