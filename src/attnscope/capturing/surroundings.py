"""What is read around a call, beside its own arguments: x, q and k before rotary embedding, W_q, W_k, W_v and W_O, and the
residual stream."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.listen.facts import Facts
from attnscope.capturing.read.inputs_and_rotary import InputWatcher, RotaryWatcher
from attnscope.capturing.read.output_projection import ProjectionFinder, Took
from attnscope.capturing.read.qkv_projections import OriginFinder, sources
from attnscope.capturing.records import Record
from attnscope.capturing.stream.room import ALL, Room
from attnscope.capturing.stream.watch import StreamWatcher, Watched


class Surroundings:
    """Hooks on a model for what `keep` names, and for W_O, which is always looked for. `room`: how much of the stream is kept."""

    def __init__(self, model: nn.Module, facts: Facts, keep: frozenset[str], room: Room = ALL) -> None:
        self._keep = keep
        self._projections = ProjectionFinder(model, facts)
        self._inputs = InputWatcher(model) if "x" in keep else None
        self._rotary = RotaryWatcher(model) if keep & {"pre_rotary", "projections"} else None
        self._origins = OriginFinder(model) if "projections" in keep else None
        self._stream = StreamWatcher(model, facts, room) if "stream" in keep else None

    def listen(self) -> None:
        """Everything else listens by now."""
        if self._stream is not None:
            self._stream.listen()

    def close(self) -> None:
        """Take all hooks off."""
        for watcher in (self._stream, self._origins, self._rotary, self._inputs, self._projections):
            if watcher is not None:
                watcher.close()

    def forget(self) -> None:
        """The pass has ended: no linear layer of it takes the latest output any more."""
        self._projections.forget()
        if self._stream is not None:
            self._stream.forget()

    def streams(self, output: Any) -> tuple[Watched, ...]:
        """The residual streams of the pass that has just ended. `output`: what the model returned."""
        return () if self._stream is None else self._stream.streams(output)

    def add_to(self, record: Record, call: AttentionCall) -> None:
        """Complete the record of a call that has just run; W_O follows when the next layer runs."""
        with torch._C.DisableTorchFunction():  # nothing of this is the model's: no mode need follow it
            self._add_to(record, call)

    def _add_to(self, record: Record, call: AttentionCall) -> None:
        if self._inputs is not None:
            x = self._inputs.input_of(call.module)
            x = _batch_first(x, call) if x is not None and call.direct else x
            record.x = None if x is None else x.detach()
        if self._rotary is not None:
            record.pre_rotary = self._rotary.inputs_of(call.query.detach(), call.key.detach())
        if self._origins is not None:
            given = call.query.detach(), call.key.detach(), call.value.detach()
            found = self._origins.of(*given, record.pre_rotary)
            record.x, record.x_keys = sources(found, record.x) if "x" in self._keep else (None, None)
            record.origins = {name: replace(origin, x=None) for name, origin in found.items()}
        if self._stream is not None:
            queries, keys = call.query.shape[2], call.key.shape[2]
            first = record.rules.row(0)[0].allowed(torch.tensor([0]), keys)
            causal = not bool(first[..., 1 + keys - queries :].any())
            given = call.query, call.key, call.value
            self._stream.attended(record.path, record.call, record.cross, causal, given, call.output, call.direct)
        if record.took is None:
            self.expect(record.path, call, lambda took: setattr(record, "took", took))

    def expect(self, path: str, call: AttentionCall, found: Callable[[Took], None]) -> None:
        """Call `found` with what takes the output of a call that has just run, of the module at this path, when the next layer
        runs."""
        self._projections.expect(path, call.output if call.given is None else call.given, found)


def _batch_first(x: Tensor, call: AttentionCall) -> Tensor | None:
    """A module's input as [B, Q, M]; None where it has no such axes."""
    batch, queries = call.query.shape[0], call.query.shape[2]
    turned = getattr(call.module, "batch_first", True) is False
    x = x.transpose(0, 1) if turned and x.ndim == 3 else x
    return x if x.ndim == 3 and x.shape[:2] == (batch, queries) else None
