"""What is read around a call, beside its own arguments: x, q and k before rotary embedding, W_q, W_k, W_v and W_O."""

from dataclasses import replace

from torch import Tensor, nn

from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.listen.facts import Facts
from attnscope.capturing.read.inputs_and_rotary import InputWatcher, RotaryWatcher
from attnscope.capturing.read.output_projection import ProjectionFinder
from attnscope.capturing.read.qkv_projections import OriginFinder, sources
from attnscope.capturing.records import Record


class Surroundings:
    """Hooks on a model for what `keep` names, and for W_O, which is always looked for."""

    def __init__(self, model: nn.Module, facts: Facts, keep: frozenset[str]) -> None:
        self._keep = keep
        self._projections = ProjectionFinder(model, facts)
        self._inputs = InputWatcher(model) if "x" in keep else None
        self._rotary = RotaryWatcher(model) if keep & {"pre_rotary", "projections"} else None
        self._origins = OriginFinder(model) if "projections" in keep else None

    def close(self) -> None:
        """Take all hooks off."""
        for watcher in (self._origins, self._rotary, self._inputs, self._projections):
            if watcher is not None:
                watcher.close()

    def forget(self) -> None:
        """The pass has ended: no linear layer of it takes the latest output any more."""
        self._projections.forget()

    def add_to(self, record: Record, call: AttentionCall) -> None:
        """Complete the record of a call that has just run; W_O follows when the next layer runs."""
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
        if record.took is None:
            output = call.output if call.given is None else call.given
            self._projections.expect(record.path, output, lambda took: setattr(record, "took", took))


def _batch_first(x: Tensor, call: AttentionCall) -> Tensor | None:
    """A module's input as [B, Q, M]; None where it has no such axes."""
    batch, queries = call.query.shape[0], call.query.shape[2]
    turned = getattr(call.module, "batch_first", True) is False
    x = x.transpose(0, 1) if turned and x.ndim == 3 else x
    return x if x.ndim == 3 and x.shape[:2] == (batch, queries) else None
