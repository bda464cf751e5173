"""capture(): records the attention of any forward pass and hands out traces of it.

Kept per call: q, k, v (references, detached; copied where a cache may change them later), the rule of the mask, the
extras, and the returned z for a fixed sample of rows. Nothing of size Q × K survives the call, except where weights are
all there is. The file is long because recording and handing out share the passes, thread by thread.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.attention_interface import AttentionCall, listen, listeners, stop_listening
from attnscope.capturing.listen.detect import attends_by_itself, looks_like_attention
from attnscope.capturing.listen.function_mode import SOFTMAX, cast
from attnscope.capturing.listen.module_stack import Running, RunningModules
from attnscope.capturing.read.attention_call import MaskReader, is_cross, read_sinks, stack_names, unknown_tensors
from attnscope.capturing.read.inputs_and_rotary import InputWatcher, RotaryWatcher
from attnscope.capturing.read.kv_cache import KeyKeeper
from attnscope.capturing.read.output_projection import ProjectionFinder
from attnscope.capturing.read.qkv_projections import OriginFinder, sources
from attnscope.capturing.to_trace import (
    Pass,
    Place,
    Record,
    WeightsRecord,
    broken_numbers,
    checked,
    given_names,
    name_positions,
    net_notes,
    site_of,
)
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import ModelInfo, Trace

ALL_ROWS_UP_TO = 256
SAMPLED_ROWS = 64
KEEP = frozenset({"x", "pre_rotary", "projections"})


def sampled_rows(queries: int) -> Tensor:
    """The query rows whose returned output is kept: all up to 256, else 64 spread evenly with the first and the last."""
    if queries <= ALL_ROWS_UP_TO:
        return torch.arange(queries)
    return torch.linspace(0, queries - 1, SAMPLED_ROWS).round().long().unique()


class Recorder:
    """Collects the attention calls of one model, in every thread, while its capture is open.

    `passes` counts forward passes; the last `keep_passes` are kept.
    """

    def __init__(
        self,
        model: nn.Module,
        keep_passes: int = 1,
        keep: Collection[str] = (),
        layers: Sequence[int] | None = None,
        sites: Sequence[str] | None = None,
        all_rows: bool = False,
        own_thread: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(
                f"the first argument must be the model, a torch module; {type(model).__name__} came. attnscope.load(name) gives "
                "a model and its tokenizer."
            )
        if keep_passes < 1:
            raise InputError(f"keep_passes is {keep_passes}; at least the last pass must be kept: 1 or more.")
        if unknown := set(keep) - KEEP:
            raise InputError(f"keep has {sorted(unknown)}; what can be kept besides q, k, v is {sorted(KEEP)}.")
        if any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) is not None for m in model.modules()):
            raise CaptureError(
                "this model is compiled, and a compiled graph shows its attention to nobody any more: "
                "capture the model before torch.compile (of compiled = torch.compile(model), compiled._orig_mod is it)."
            )
        self.model = model
        self.passes = 0
        self._keep_passes = keep_passes
        self._keep = frozenset(keep)
        self._layers = None if layers is None else set(layers)
        self._sites = None if sites is None else tuple(sites)
        self._all_rows = all_rows
        self._own_thread = own_thread
        self.thread = threading.get_ident()
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._kept: list[Pass] = []
        self._current = threading.local()
        self._cached = KeyKeeper()
        self._ran: set[str] = set()
        self._lock = threading.Lock()
        self._closers: list[Callable[[], None]] = []
        self._needs_net = attends_by_itself(model)
        self._elsewhere = False  # a pass ran in a thread that the function mode does not see

    # --- opening and closing --------------------------------------------------------------------------------------

    def open(self) -> None:
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        handles = [
            self.model.register_forward_pre_hook(self._enter_model, with_kwargs=True),
            self.model.register_forward_hook(self._leave_model, always_call=True),
        ]
        handles += [
            module.register_forward_pre_hook(self._saw_module(path))
            for path, module in self.model.named_modules()
            if looks_like_attention(module) and path
        ]
        self._closers = [handle.remove for handle in handles]
        self._projections = ProjectionFinder(self.model)
        self._closers.append(self._projections.close)
        self._inputs = InputWatcher(self.model) if "x" in self._keep else None
        self._rotary = RotaryWatcher(self.model) if self._keep & {"pre_rotary", "projections"} else None
        self._origins = OriginFinder(self.model) if "projections" in self._keep else None
        self._closers += [watcher.close for watcher in (self._inputs, self._rotary, self._origins) if watcher]
        self._closers.append(lambda: stop_listening(self))
        self.thread = threading.get_ident()
        listen(self)
        if self._needs_net:
            self.running = RunningModules(self.model)
            self._closers.append(self.running.close)
            self._closers.append(cast(self))

    def close(self) -> None:
        for close in reversed(self._closers):
            close()
        self._closers = []
        self._cached.forget()
        for kept in self._kept:
            kept.masks = MaskReader()

    def _takes_this_thread(self) -> bool:
        """Whether a call in this thread is for this recorder: always in the thread that opened it; in another one
        unless that one has a capture of its own open on the same model, or only the own thread is wanted."""
        here = threading.get_ident()
        if self.thread == here:
            return True
        return not self._own_thread and not any(
            isinstance(other, Recorder) and other.thread == here and other.model is self.model for other in listeners()
        )

    def _saw_module(self, path: str) -> Callable[..., None]:
        return lambda *_: self._ran.add(path) if self._takes_this_thread() else None

    def _enter_model(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._takes_this_thread():
            return
        self._current.depth = getattr(self._current, "depth", 0) + 1
        if self._current.depth == 1:
            self._begin_pass()
            self._current.cached = any(hasattr(value, "get_seq_length") for value in (*args, *kwargs.values()))

    def _leave_model(self, *_: Any) -> None:
        depth = getattr(self._current, "depth", 0)
        if depth == 0:  # this pass began before the capture was opened
            return
        self._current.depth = depth - 1
        if depth == 1 and self._current.opened is not None:
            self._current.opened.masks = MaskReader()
            self._drop_layers(self._current.opened)
            self._current.opened = None
            self._projections.forget()

    def _begin_pass(self) -> Pass:
        here = threading.get_ident() == self.thread
        opened = Pass(net=self._needs_net and here)
        self._elsewhere |= not here
        with self._lock:
            self.passes += 1
            self._kept = [*self._kept, opened][-self._keep_passes :]
        self._current.opened = opened
        return opened

    def _drop_layers(self, ended: Pass) -> None:
        """Let go of the layers that nobody asked for: what a call's layer is, only the whole pass tells."""
        if self._layers is not None:
            places = self._places(ended)
            ended.records = [
                record for record in ended.records if record.place in places and places[record.place][1] in self._layers
            ]

    def _places(self, chosen: Pass) -> dict[int, Place]:
        """(stack, layer) of every call of the pass that is whole."""
        config = getattr(self.model, "config", None)
        torn = chosen.torn
        order = {place: call for place, call in enumerate(chosen.order) if place not in torn}
        both = getattr(config, "is_encoder_decoder", None)
        if both is None:  # nn.Transformer
            both = any(cross for _, cross in order.values()) and any(
                re.search(r"(^|\.)encoder(\.|$)", path) for path, _ in order.values()
            )
        names = stack_names([*order.values()], bool(both), pooled=not both and chosen.pooled)
        return dict(zip(order, names, strict=True))

    # --- recording ------------------------------------------------------------------------------------------------

    def owns(self, module: nn.Module) -> bool:
        return id(module) in self._paths

    def _enter_call(self, path: str, cross: bool, size: tuple[int, int]) -> tuple[Pass, int] | None:
        """The pass that a call of this module belongs to, and the call's place in it; None for calls of others."""
        loose = getattr(self._current, "depth", 0) == 0  # a part of the model was called by itself
        if not self._takes_this_thread() or (loose and self.thread != threading.get_ident()):
            return None  # another capture's, or a pass of another thread that began before this capture was opened
        if torch._C._current_graph_task_id() != -1:
            return None  # gradient checkpointing runs the layers once more within backward: that is no new pass
        opened: Pass | None = getattr(self._current, "opened", None)
        if opened is None or (loose and path in opened.calls):
            opened = self._begin_pass()
        opened.calls[path] += 1
        opened.order.append((path, cross))
        opened.sizes.append(size)
        return opened, len(opened.order) - 1

    def _wants(self, path: str) -> bool:
        return self._sites is None or any(path == wanted or path.startswith(wanted + ".") for wanted in self._sites)

    def _is_cross(self, module: nn.Module, path: str, queries: int, keys: int) -> bool:
        """For calls that torch gets by itself: other lengths are another sequence, unless a cache holds earlier keys."""
        return is_cross(module, path) or (queries != keys and not getattr(self._current, "cached", False))

    def saw_softmax(self, running: Running, size: torch.Size) -> None:
        """Note the size of a softmax in an attention module, whether it meets values or not."""
        opened: Pass | None = getattr(self._current, "opened", None)
        if opened is not None and looks_like_attention(running.module):
            opened.softmaxes.setdefault(running.turn, (set(), []))[0].add(tuple(size))

    def record_weights(self, running: Running, weights: Tensor) -> None:
        """Keep the weights of a softmax that met values. weights: [B, H, Q, K]."""
        path, size = self._paths[id(running.module)], (weights.shape[2], weights.shape[3])
        opened: Pass | None = getattr(self._current, "opened", None)
        if opened is not None and running.turn in opened.whole:
            return  # computed beside the real thing, to be looked at
        cross = self._is_cross(running.module, path, *size)
        if (entered := self._enter_call(path, cross, size)) is None:
            return
        opened, place = entered
        sizes, places = opened.softmaxes.setdefault(running.turn, (set(), []))
        sizes.add(size)
        places.append(place)
        if self._wants(path):
            kept = weights.detach().clone()  # a copy: what the model does with it next is not known
            opened.records.append(WeightsRecord(place, path, opened.calls[path] - 1, kept, SOFTMAX, cross))

    def record(self, call: AttentionCall) -> None:
        path = self._paths[id(call.module)]
        loose = getattr(self._current, "depth", 0) == 0
        size = call.query.shape[2], call.key.shape[2]
        cross = call.options.get("cross", is_cross(call.module, path))
        if call.direct and not cross:
            cross = self._is_cross(call.module, path, *size)
        if (entered := self._enter_call(path, cross, size)) is None:
            return
        opened, place = entered
        number = opened.calls[path] - 1
        if call.direct and (running := self.running.caller()) is not None:
            opened.whole.add(running.turn)
        if not self._wants(path):
            return
        query, key, value = call.query.detach(), call.key.detach(), call.value.detach()
        rows = torch.arange(query.shape[2]) if self._all_rows else sampled_rows(query.shape[2])
        rows, note = _without_nan(rows, call.output) if call.direct else (rows, "")
        z = call.output.detach()
        z = z if len(rows) == z.shape[1] else z[:, rows.to(z.device)]
        dropped = bool(call.options.get("dropout")) and (call.direct or call.module.training)
        scaling = call.options.get("scaling")
        may_change = loose or getattr(self._current, "cached", False)
        record = Record(
            place=place,
            path=path,
            call=number,
            query=query,
            key_value=self._cached.keep(path, number, query.shape[2], key, value)
            if may_change
            else lambda: (key, value),
            rules=opened.masks.read(call),
            scaling=float(query.shape[-1] ** -0.5 if scaling is None else scaling),
            softcap=call.options.get("softcap"),
            sinks=read_sinks(call),
            window=call.options.get("sliding_window"),
            z=None if dropped or not len(rows) else z,
            z_rows=rows,
            implementation=call.implementation,
            cross=cross,
            unknown=unknown_tensors(call),
            note="dropout was active in this pass, so the model's output cannot be computed again" if dropped else note,
            direct=call.direct,
            projection=call.projection,
        )
        if self._inputs is not None:
            x = self._inputs.input_of(call.module)
            if x is not None and call.direct:
                x = _batch_first(x, call)
            record.x = None if x is None else x.detach()
        if self._rotary is not None:
            record.pre_rotary = self._rotary.inputs_of(query, key)
        if self._origins is not None:
            found = self._origins.of(query, key, value, record.pre_rotary)
            record.x, record.x_keys = sources(found, record.x) if "x" in self._keep else (None, None)
            record.origins = {name: replace(origin, x=None) for name, origin in found.items()}
        opened.records.append(record)
        if record.projection is None:
            self._projections.expect(call.output, lambda found: setattr(record, "projection", found))

    # --- handing out ----------------------------------------------------------------------------------------------

    def trace(
        self,
        tokenizer: Any = None,
        input_ids: Any = None,
        *,
        tokens: Tokens | Sequence[str] | None = None,
        target: Tokens | None = None,
        index: int = 0,
        forward: int = -1,
        name: str = "",
        notes: Sequence[str] = (),
        inputs: Any = None,
    ) -> Trace:
        """The trace of row `index` of the batch in one of the kept passes (forward=-1: the last).

        Give `tokens`, or `input_ids` ([B, T] or [T]) with a tokenizer, to name the positions. Raises CaptureError
        where nothing was recorded, InputError where `index`, `forward` or the tokens do not fit.
        """
        if not any(kept.order for kept in self._kept):
            raise CaptureError(self._nothing_recorded())
        if not -len(self._kept) <= forward < len(self._kept):
            raise InputError(
                f"forward {forward} is out of range: {len(self._kept)} of {self.passes} passes are kept (keep_passes="
                f"{self._keep_passes}). Open the capture with a larger keep_passes."
            )
        chosen = self._kept[forward]
        if not chosen.order:
            raise CaptureError(self._nothing_recorded())
        found = self._records_of(chosen)
        batch = max(record.batch for record, _ in found)
        if not -batch <= index < batch:
            raise InputError(f"index {index} is out of range: the batch of that pass has {batch} rows.")
        index %= batch
        named = given_names(tokenizer, input_ids, tokens, index)
        sites = [
            site_of(record, place, index, _count(target if target is not None and place[0] == "decoder" else named))
            for record, place in found
        ]
        named, target = name_positions(sites, named, target)
        records = [record for record, _ in found]
        config = getattr(self.model, "config", None)
        info = ModelInfo(
            name=name or getattr(config, "_name_or_path", "") or "",
            class_name=type(self.model).__name__,
            type=getattr(config, "model_type", ""),
            dtype=str(records[0].dtype).removeprefix("torch."),
            implementation=", ".join(sorted({record.implementation for record in records})),
            revision=getattr(config, "_commit_hash", None),
        )
        notes = (*notes, *net_notes(chosen, sites), *broken_numbers(sites))
        trace = Trace(tuple(sites), named, target, info, notes, tuple(self._unrecorded(chosen)), inputs)
        return checked(trace, records)

    def rows(self) -> int:
        """How many rows the batch of the last pass had, where torch was called by itself; 1 where it never was."""
        batches = [record.batch for kept in self._kept[-1:] for record in kept.records if record.direct]
        return min(batches, default=1)

    def _records_of(self, chosen: Pass) -> list[tuple[Record | WeightsRecord, Place]]:
        """What the pass kept, with stack and layer. Raises InputError where layers= or sites= name nothing in it."""
        places = self._places(chosen)
        if not places:
            raise CaptureError(self._nothing_recorded())
        found = [(record, places[record.place]) for record in chosen.records if record.place in places]
        if self._layers is not None:
            found = [(record, place) for record, place in found if place[1] in self._layers]
            there = {layer for _, layer in places.values()}
            if missing := self._layers - there:
                raise InputError(
                    f"layers={sorted(self._layers)}: there is no layer {', '.join(map(str, sorted(missing)))}; this model has "
                    f"attention in layers {', '.join(map(str, sorted(there)))}."
                )
        if not found:
            paths = ", ".join(dict.fromkeys(path for path, _ in chosen.order))
            raise InputError(
                f"sites={list(self._sites or ())} names none of the attention modules of this pass: {paths}."
            )
        return found

    def _unrecorded(self, chosen: Pass) -> list[str]:
        """Attention-like modules that ran without a record, nor one inside or around them."""
        torn = chosen.torn
        recorded = {path for place, (path, _) in enumerate(chosen.order) if place not in torn}
        return sorted(
            path
            for path in self._ran
            if not any(
                other == path or other.startswith(path + ".") or path.startswith(other + ".") for other in recorded
            )
        )

    def _nothing_recorded(self) -> str:
        ran = sorted(self._ran)
        if self.passes == 0 and not ran:
            return (
                "no forward pass of this model ran inside the capture, so there is nothing to show: call the model "
                "(or model.generate) inside the with block."
            )
        kind = type(self.model).__name__
        if self._needs_net and self._elsewhere:
            return (
                f"{kind} ran in another thread. It calls torch's attention by itself and not through transformers' interface, "
                "and such calls are seen only in the thread that opened the capture: run the model in that thread."
            )
        if ran:
            return (
                f"{kind} ran, but none of its attention went through transformers' attention interface or torch's "
                f"scaled_dot_product_attention and nn.MultiheadAttention, or was one softmax over all keys. Modules that look "
                f"like attention: {', '.join(ran[:12])}{' …' if len(ran) > 12 else ''}. attnscope cannot read this architecture yet."
            )
        return f"{kind} ran, but {no_attention(self.model)}"


def no_attention(model: nn.Module) -> str:
    """What to say of a model without attention that can be read: the modules seen, and another way."""
    names = sorted({type(module).__name__ for module in model.modules()})
    return (
        f"it has no attention that attnscope can read. Its modules are: {', '.join(names[:16])}"
        f"{' …' if len(names) > 16 else ''}. Query, key and value tensors of your own can be looked at with Trace.from_qkv."
    )


def may_attend(model: nn.Module) -> bool:
    """Whether there is anything in the model that a capture could see: by class names, else by what its code calls."""
    return any(map(looks_like_attention, model.modules())) or attends_by_itself(model)


def _batch_first(x: Tensor, call: AttentionCall) -> Tensor | None:
    """A module's input as [B, Q, M]; None where it has no such axes."""
    batch, queries = call.query.shape[0], call.query.shape[2]
    turned = getattr(call.module, "batch_first", True) is False
    x = x.transpose(0, 1) if turned and x.ndim == 3 else x
    return x if x.ndim == 3 and x.shape[:2] == (batch, queries) else None


def _without_nan(rows: Tensor, output: Tensor) -> tuple[Tensor, str]:
    """The rows that can be compared, and a note on the others: nn.MultiheadAttention gives NaN where no key is allowed.
    output: [B, Q, H, Dv]."""
    blank = output.detach().isnan().flatten(2).all(-1).any(0).cpu()
    if not bool(blank.any()):
        return rows, ""
    return rows[~blank[rows]], f"{int(blank.sum())} queries come out of the module as NaN, and are not compared"


def _count(tokens: Tokens | None) -> int | None:
    return None if tokens is None else len(tokens)


@contextlib.contextmanager
def capture(
    model: nn.Module,
    keep_passes: int = 1,
    keep: Collection[str] = (),
    layers: Sequence[int] | None = None,
    sites: Sequence[str] | None = None,
) -> Iterator[Recorder]:
    """Record the attention of every forward pass of `model` inside the with block, from any thread that has no capture
    of its own open on that model.

    The model's outputs stay bit for bit what they are without; where a module calls torch's attention by itself and not
    through transformers' interface, they agree to 4 ulp, the trace says so, and only the thread that opened the capture
    is seen. On the way out, also by an exception, nothing is left behind. `keep` may add "x" (module inputs), "pre_rotary" (q, k before rotary embedding) and "projections"
    (W_q, W_k, W_v: references to the model's parameters, and with them what "pre_rotary" keeps); `layers` and `sites` (module paths) limit what is kept. Raises
    CaptureError for a compiled model or an unsupported transformers.

        with attnscope.capture(model) as recorder:
            model(**inputs)
        trace = recorder.trace(tokenizer=tokenizer, input_ids=inputs["input_ids"])
    """
    recorder = Recorder(model, keep_passes, keep, layers, sites)
    recorder.open()
    try:
        yield recorder
    finally:
        recorder.close()


def rerun(model: nn.Module, trace: Trace) -> Trace:
    """Run `model` again on the trace's own inputs, keeping every row of every site's output."""
    recorder = Recorder(model, all_rows=True, own_thread=True)
    was_training = model.training
    model.eval()
    recorder.open()
    try:
        with torch.no_grad():
            model(**dict(trace.inputs or {}))
    finally:
        recorder.close()
        model.train(was_training)
    return recorder.trace(tokens=trace.tokens, target=trace.target)
