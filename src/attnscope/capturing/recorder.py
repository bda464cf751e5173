"""capture(): records the attention of any forward pass and hands out traces of it.

Kept per call: q, k, v (references, detached; cloned where a cache may change them later), the rule of the mask, the
extras, and the returned z for a fixed sample of rows. Nothing of size Q × K survives the call.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing.extras import InputWatcher, RotaryWatcher
from attnscope.capturing.interface import AttentionCall, listen, stop_listening
from attnscope.capturing.projection import ProjectionFinder
from attnscope.capturing.reading import BatchRules, MaskReader, is_cross, read_sinks, stack_names, unknown_tensors
from attnscope.errors import CaptureError, InputError
from attnscope.tokens import Tokens, tokens_of
from attnscope.tracing import ModelInfo, Projection, Site, Trace

ALL_ROWS_UP_TO = 256
SAMPLED_ROWS = 64
KEEP = frozenset({"x", "pre_rotary"})


def sampled_rows(queries: int) -> Tensor:
    """The query rows whose returned output is kept: all up to 256, else 64 spread evenly with the first and the last."""
    if queries <= ALL_ROWS_UP_TO:
        return torch.arange(queries)
    return torch.linspace(0, queries - 1, SAMPLED_ROWS).round().long().unique()


@dataclass
class KeyRows:
    """The keys and values of one cached module: every step adds only its new rows."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    length: int = 0

    def joined(self, length: int) -> tuple[Tensor, Tensor]:
        return torch.cat(self.keys, 2)[:, :, :length], torch.cat(self.values, 2)[:, :, :length]


@dataclass
class Record:
    """One attention call of a pass, for a whole batch. query: [B, H, Q, D]."""

    path: str
    call: int
    query: Tensor
    key_value: Callable[[], tuple[Tensor, Tensor]]
    keys: int
    rules: BatchRules
    scaling: float
    softcap: float | None
    sinks: Tensor | None
    z: Tensor
    z_rows: Tensor
    implementation: str
    cross: bool
    unknown: tuple[str, ...]
    note: str
    projection: Projection | None = None
    x: Tensor | None = None
    pre_rotary: tuple[Tensor, Tensor] | None = None


@dataclass
class Pass:
    """One forward pass of the model: its calls in order, and the modules that ran."""

    records: list[Record] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)


class Recorder:
    """Collects the attention calls of one model, in every thread, while its capture is open.

    `passes` counts forward passes; the last `keep_passes` are kept.
    """

    def __init__(
        self,
        model: nn.Module,
        keep_passes: int = 1,
        keep: Sequence[str] | frozenset[str] = (),
        layers: Sequence[int] | None = None,
        sites: Sequence[str] | None = None,
        all_rows: bool = False,
    ) -> None:
        if keep_passes < 1:
            raise InputError(f"keep_passes is {keep_passes}; at least the last pass must be kept: 1 or more.")
        if unknown := set(keep) - KEEP:
            raise InputError(f"keep has {sorted(unknown)}; what can be kept besides q, k, v is {sorted(KEEP)}.")
        if hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None:
            raise CaptureError(
                "this model is compiled, and a compiled graph does not pass through the attention interface any more: "
                "capture the model before torch.compile (compiled._orig_mod is it)."
            )
        self.model = model
        self.passes = 0
        self._keep_passes = keep_passes
        self._keep = frozenset(keep)
        self._layers = None if layers is None else set(layers)
        self._sites = None if sites is None else tuple(sites)
        self._all_rows = all_rows
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._kept: list[Pass] = []
        self._current = threading.local()
        self._masks = MaskReader()
        self._cached: dict[tuple[str, int], KeyRows] = {}
        self._ran: set[str] = set()
        self._lock = threading.Lock()
        self._closers: list[Callable[[], None]] = []

    # --- opening and closing --------------------------------------------------------------------------------------

    def open(self) -> None:
        handles = [
            self.model.register_forward_pre_hook(self._enter_model),
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
        self._rotary = RotaryWatcher(self.model) if "pre_rotary" in self._keep else None
        self._closers += [watcher.close for watcher in (self._inputs, self._rotary) if watcher]
        self._closers.append(lambda: stop_listening(self))
        listen(self)

    def close(self) -> None:
        for close in reversed(self._closers):
            close()
        self._closers = []
        self._masks.forget()
        self._cached = {}

    def _saw_module(self, path: str) -> Callable[..., None]:
        return lambda *_: self._ran.add(path)

    def _enter_model(self, *_: Any) -> None:
        self._current.depth = getattr(self._current, "depth", 0) + 1
        if self._current.depth == 1:
            self._begin_pass()

    def _leave_model(self, *_: Any) -> None:
        self._current.depth = max(0, getattr(self._current, "depth", 1) - 1)
        if self._current.depth == 0:
            self._current.opened = None
            self._projections.forget()
            self._masks.forget()

    def _begin_pass(self) -> Pass:
        opened = Pass()
        with self._lock:
            self.passes += 1
            self._kept = [*self._kept, opened][-self._keep_passes :]
        self._current.opened = opened
        return opened

    # --- recording ------------------------------------------------------------------------------------------------

    def owns(self, module: nn.Module) -> bool:
        return id(module) in self._paths

    def record(self, call: AttentionCall) -> None:
        path = self._paths[id(call.module)]
        opened: Pass | None = getattr(self._current, "opened", None)
        loose = getattr(self._current, "depth", 0) == 0  # a part of the model was called by itself
        if opened is None or (loose and path in opened.calls):
            opened = self._begin_pass()
        number = opened.calls.get(path, 0)
        opened.calls[path] = number + 1
        if self._sites is not None and not any(
            path == wanted or path.startswith(wanted + ".") for wanted in self._sites
        ):
            return
        query, key, value = call.query.detach(), call.key.detach(), call.value.detach()
        rows = torch.arange(query.shape[2]) if self._all_rows else sampled_rows(query.shape[2])
        z = call.output.detach()
        scaling = call.options.get("scaling")
        record = Record(
            path=path,
            call=number,
            query=query,
            key_value=self._keep_keys(path, number, query, key, value),
            keys=key.shape[2],
            rules=self._masks.read(call),
            scaling=float(query.shape[-1] ** -0.5 if scaling is None else scaling),
            softcap=call.options.get("softcap"),
            sinks=read_sinks(call),
            z=z if len(rows) == z.shape[1] else z[:, rows.to(z.device)],
            z_rows=rows,
            implementation=call.implementation,
            cross=is_cross(call, path),
            unknown=unknown_tensors(call),
            note="dropout was active" if call.options.get("dropout") and call.module.training else "",
        )
        if self._inputs is not None:
            record.x = _detached(self._inputs.input_of(call.module))
        if self._rotary is not None:
            record.pre_rotary = self._rotary.inputs_of(query, key)
        opened.records.append(record)
        self._projections.expect(call.output, lambda found: setattr(record, "projection", found))

    def _keep_keys(
        self, path: str, number: int, query: Tensor, key: Tensor, value: Tensor
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        """A way to get the keys and values back: the tensors themselves, or the rows that cached steps added."""
        length, new = key.shape[2], query.shape[2]
        if length == new:
            self._cached[path, number] = KeyRows([key], [value], length)
            return lambda: (key, value)
        rows = self._cached.get((path, number))
        start = length - new
        grows = (
            rows is not None
            and rows.length == start
            and rows.keys[0].shape[:2] == key.shape[:2]
            and torch.equal(torch.cat(rows.keys, 2), key[:, :, :start])
        )
        if grows and rows is not None:
            rows.keys.append(key[:, :, start:].clone())
            rows.values.append(value[:, :, start:].clone())
            rows.length = length
        else:  # a new text, a static cache, a sliding one, or beams that changed places
            rows = self._cached[path, number] = KeyRows([key.clone()], [value.clone()], length)
        return lambda: rows.joined(length)

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
        if not any(kept.records for kept in self._kept):
            raise CaptureError(self._nothing_recorded())
        if not -len(self._kept) <= forward < len(self._kept):
            raise InputError(
                f"forward {forward} is out of range: {len(self._kept)} of {self.passes} passes are kept (keep_passes="
                f"{self._keep_passes}). Open the capture with a larger keep_passes."
            )
        chosen = self._kept[forward]
        if not chosen.records:
            raise CaptureError(self._nothing_recorded())
        batch = chosen.records[0].query.shape[0]
        if not -batch <= index < batch:
            raise InputError(f"index {index} is out of range: the batch of that pass has {batch} rows.")
        index %= batch
        sites = self._sites_of(chosen.records, index)
        named = _name_positions(sites, tokenizer, input_ids, tokens, index, target)
        implementations = sorted({record.implementation for record in chosen.records})
        info = ModelInfo(
            name=name or getattr(getattr(self.model, "config", None), "_name_or_path", "") or "",
            class_name=type(self.model).__name__,
            type=getattr(getattr(self.model, "config", None), "model_type", ""),
            dtype=str(chosen.records[0].query.dtype).removeprefix("torch."),
            implementation=", ".join(implementations),
            revision=getattr(getattr(self.model, "config", None), "_commit_hash", None),
        )
        trace = Trace(tuple(sites), named, target, info, tuple(notes), tuple(self._unrecorded(chosen)), inputs)
        return _checked(trace, chosen.records)

    def _sites_of(self, records: list[Record], index: int) -> list[Site]:
        config = getattr(self.model, "config", None)
        places = stack_names([(r.path, r.cross) for r in records], bool(getattr(config, "is_encoder_decoder", False)))
        sites = []
        for record, (stack, layer) in zip(records, places, strict=True):
            if self._layers is not None and layer not in self._layers:
                continue
            key, value = record.key_value()
            mask, bias = record.rules.row(index)
            pre = record.pre_rotary
            sites.append(
                Site(
                    q=record.query[index % len(record.query)],
                    k=key[index % len(key)],
                    v=value[index % len(value)],
                    scaling=record.scaling,
                    path=record.path,
                    call=record.call,
                    kind="cross" if record.cross else "self",
                    stack=stack,
                    layer=layer,
                    softcap=record.softcap,
                    mask=mask,
                    position_bias=bias,
                    sinks=record.sinks,
                    z=record.z[index].transpose(0, 1),
                    z_rows=record.z_rows,
                    projection=record.projection,
                    x=_row(record.x, index),
                    pre_rotary_q=None if pre is None else pre[0][index].detach(),
                    pre_rotary_k=None if pre is None else pre[1][index].detach(),
                    note=record.note,
                )
            )
        if not sites:
            raise InputError(
                f"layers={sorted(self._layers or ())} names none of the {len(records)} sites of this model."
            )
        return sites

    def _unrecorded(self, chosen: Pass) -> list[str]:
        """Attention-like modules that ran without a record, nor one inside or around them."""
        recorded = set(chosen.calls)
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
        if ran:
            return (
                f"{kind} ran, but none of its attention went through transformers' attention interface. Modules that look "
                f"like attention: {', '.join(ran[:12])}{' …' if len(ran) > 12 else ''}. attnscope cannot read this architecture yet."
            )
        names = sorted({type(module).__name__ for module in self.model.modules()} - {kind})
        return f"{kind} ran, but it has no attention that attnscope knows. Its modules are: {', '.join(names[:16])}."


def looks_like_attention(module: nn.Module) -> bool:
    """By its class name, or because it is torch's own."""
    name = type(module).__name__.lower()
    return ("attention" in name or "attn" in name) and "norm" not in name and "output" not in name


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _row(tensor: Tensor | None, index: int) -> Float[Tensor, "Q M"] | None:
    return None if tensor is None or tensor.ndim != 3 else tensor[index % len(tensor)]


def _name_positions(
    sites: Sequence[Site], tokenizer: Any, input_ids: Any, tokens: Any, index: int, target: Tokens | None
) -> Tokens:
    source = next((s for s in sites if s.kind == "self" and s.stack != "decoder"), None)
    cross = next((s for s in sites if s.kind == "cross"), None)
    length = source.keys if source is not None else cross.keys if cross is not None else sites[0].keys
    if tokens is not None:
        named = tokens if isinstance(tokens, Tokens) else Tokens(tuple(map(str, tokens)))
    elif input_ids is not None:
        ids = torch.as_tensor(input_ids)
        ids = ids[index] if ids.ndim == 2 else ids
        named = tokens_of(tokenizer, ids.tolist())
    else:
        named = Tokens(tuple(map(str, range(length))))
    if len(named) != length:
        raise InputError(
            f"{len(named)} tokens were given, but this pass attends over {length} positions. With a cache, give the ids "
            "of the whole text so far; for another pass, say which with forward=."
        )
    return named


def _checked(trace: Trace, records: Sequence[Record]) -> Trace:
    """Refuse, by name, tensor arguments that attnscope does not know, unless the output shows they change nothing."""
    unknown = {record.path: record.unknown for record in records if record.unknown}
    sites = []
    for site in trace.sites:
        if site.path in unknown:
            names = ", ".join(unknown[site.path])
            if site.verify().status == "failed":
                raise CaptureError(
                    f"{site.path} passes attention a tensor argument that attnscope does not know ({names}), and without it "
                    "the model's own output cannot be reproduced. Its weights would be wrong, so they are not shown."
                )
            site = replace(site, note=f"called with the unknown argument {names}, which changes nothing here")
        sites.append(site)
    return trace.replace_sites(sites) if unknown else trace


@contextlib.contextmanager
def capture(
    model: nn.Module,
    keep_passes: int = 1,
    keep: Sequence[str] | frozenset[str] = (),
    layers: Sequence[int] | None = None,
    sites: Sequence[str] | None = None,
) -> Iterator[Recorder]:
    """Record the attention of every forward pass of `model` inside the with block, from any thread.

    The model's outputs stay bit for bit what they are without; on the way out, also by an exception, nothing is left
    behind. `keep` may add "x" (module inputs) and "pre_rotary" (q, k before rotary embedding); `layers` and `sites`
    (module paths) limit what is kept. Raises CaptureError for a compiled model or an unsupported transformers.

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
    recorder = Recorder(model, all_rows=True)
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
