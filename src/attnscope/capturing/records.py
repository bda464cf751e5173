"""What a capture writes down while the model runs: one record per attention call, gathered by forward pass."""

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.listen.reads import Reads
from attnscope.capturing.read.attention_call import (
    BatchRules,
    MaskReader,
    dropout_of,
    read_sinks,
    scaling_of,
    unknown_tensors,
)
from attnscope.capturing.read.kv_cache import KeyValue
from attnscope.capturing.read.output_projection import Took, written_rows
from attnscope.capturing.read.qkv_projections import Origin
from attnscope.capturing.stream.watch import Watched
from attnscope.tracing.receipts import tolerance_of

ASKED = "asked for its weights"  # in place of an implementation's name
ALL_ROWS_UP_TO = 256
SAMPLED_ROWS = 64


@dataclass
class Record:
    """One attention call of a pass, for a whole batch. `query`: [B, H, Q, D]; `z`: [B, R, H, Dv]; `key_value` gives those of a
    row of the batch. `place`: which call
    of the pass it was. `direct`: the module called torch by itself, and not through transformers' interface. `offset`: where query 0 stands
    among the keys, where the mask tells.
    `given`: the output as the module held it, which may have changed it in its place since, [B, Q, H, Dv].
    `coarsest`: the dtype of the lowest precision on the way from q to z, autocast's among them."""

    place: int
    path: str
    call: int
    query: Tensor
    key_value: Callable[[int], KeyValue]
    rules: BatchRules
    scaling: float
    softcap: float | None
    sinks: Tensor | None
    window: int | None
    z: Tensor | None
    z_rows: Tensor
    implementation: str
    cross: bool
    unknown: tuple[str, ...]
    note: str
    took: Took | None = None
    x: Tensor | None = None
    pre_rotary: tuple[Tensor, Tensor] | None = None
    x_keys: Tensor | None = None
    origins: dict[str, Origin] = field(default_factory=dict)
    direct: bool = False
    offset: int | None = None
    coarsest: torch.dtype = torch.float32
    given: Tensor | None = None

    @property
    def batch(self) -> int:
        return len(self.query)

    def z_was_changed(self) -> bool:
        """Whether the module changed the output after it had been computed."""
        if self.given is None or self.z is None:
            return False
        return not torch.equal(self.given[:, self.z_rows.to(self.given.device)], self.z)

    @property
    def dtype(self) -> torch.dtype:
        return self.query.dtype


@dataclass
class Unread:
    """One call of a pass as it was made, of which the record is made when the pass ends. While the model runs every function that
    is called pushes the weights out of the processor's caches, and is slow itself: all calls are read faster together. The
    fields: as for `record_of`."""

    call: AttentionCall
    path: str
    place: int
    number: int
    cross: bool
    key_value: Callable[[int], KeyValue]
    offset: int | None
    autocast: torch.dtype | None
    rules: BatchRules | None
    took: Took | None = None
    _record: Record | None = None

    def took_by(self, took: Took) -> None:
        """What took its output."""
        self.took = took
        if self._record is not None:
            self._record.took = took

    def read(self, masks: MaskReader) -> Record:
        """Its record."""
        rest = self.key_value, False, self.offset, self.autocast, self.rules
        self._record = record = record_of(self.call, self.path, self.place, self.number, self.cross, masks, *rest)
        record.took = record.took or self.took
        return record


@dataclass
class WeightsRecord:
    """A softmax over keys whose result was multiplied with values, for a whole batch. `weights`: [B, H, Q, K]. `offset`: as in
    `Record`."""

    place: int
    path: str
    call: int
    weights: Tensor
    implementation: str
    cross: bool
    direct: bool = True
    unknown: tuple[str, ...] = ()
    offset: int | None = None

    @property
    def batch(self) -> int:
        return len(self.weights)

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.dtype


@dataclass
class Pass:
    """One forward pass of the model: all its calls in order (module path, cross or not), and the records of those kept.

    `left_out`: paths of modules with a softmax of more axes that was not recorded. `made`: of each run of a module, its softmaxes over keys
        (path, numbers, keys); `taken`: what was recorded of that run (weights, keys).
    `reads`: what it read. `softmaxes`: sizes and places of the softmaxes in one run of a module.
    `complete`: the runs of modules whose attention was recorded with q, k and v. `watched`: torch's own functions were
        watched as well. `ran`: paths of the attention-like modules that ran. `by_hooks`: of modules that hooks called by
        themselves, whose calls are left out. `too_long`: of modules that could be asked for their weights, were the text shorter. `streams`: the residual streams, where they were followed.
    `beside`: places of the calls of streams beside a call, with its place and the number of the stream, from 1.
    """

    order: list[tuple[str, bool]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    unread: list["Unread"] = field(default_factory=list)
    masks: MaskReader = field(default_factory=MaskReader)
    reads: Reads = field(default_factory=Reads)
    softmaxes: dict[int, tuple[set[tuple[int, ...]], list[int]]] = field(default_factory=dict)
    complete: set[int] = field(default_factory=set)
    watched: bool = False
    ran: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    made: defaultdict[int, list[tuple[str, int, int]]] = field(default_factory=lambda: defaultdict(list))
    taken: defaultdict[int, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    by_hooks: set[str] = field(default_factory=set)
    too_long: set[str] = field(default_factory=set)
    products: dict[str, bool] = field(default_factory=dict)
    beside: dict[int, tuple[int, int]] = field(default_factory=dict)
    streams: tuple[Watched, ...] = ()
    places: tuple[int, Any] = (
        -1,
        None,
    )  # stack and layer of every call, and how much had been noted when they were read

    _records: list[Record | WeightsRecord] = field(default_factory=list)

    @property
    def records(self) -> list[Record | WeightsRecord]:
        """One for each call that was kept."""
        if self.unread:
            self._records += [one.read(self.masks) for one in self.unread]
            self.unread = []
        return self._records

    @records.setter
    def records(self, kept: list[Record | WeightsRecord]) -> None:
        self._records = kept

    def calls_alone(self) -> "Pass":
        """The pass without its tensors: which calls it had."""
        return Pass(order=self.order, calls=self.calls, softmaxes=self.softmaxes)

    def saw_softmax(self, turn: int, path: str, shape: torch.Size) -> None:
        """A softmax over keys in one run of a module, whether it is multiplied with values or not. `shape`: of its result; with
        more than four axes it is no one attention."""
        self.products.setdefault(path, False)
        self.made[turn].append((path, shape.numel(), shape[-1]))
        if len(shape) <= 4:
            self.softmaxes.setdefault(turn, (set(), []))[0].add(tuple(shape[-2:]))

    def took_softmax(self, turn: int, place: int, shape: torch.Size) -> None:
        """The weights of a softmax, [B, H, Q, K], were multiplied with values: a call of the pass."""
        sizes, places = self.softmaxes.setdefault(turn, (set(), []))
        sizes.add(tuple(shape[-2:]))
        places.append(place)
        self.taken[turn].add((shape.numel(), shape[-1]))

    @property
    def passed_over(self) -> set[str]:
        """Paths of modules that were recorded, with a softmax of another size beside it that was not: streams that predict
        (ProphetNet), blocks beside global tokens (Pegasus-X)."""
        return self.left_out | self.passed_over_in(self.made)

    def passed_over_in(self, turns: Iterable[int]) -> set[str]:
        """The same of some runs of modules, where something was recorded of them."""
        return {
            path
            for turn in turns
            if (taken := self.taken.get(turn))
            for path, *size in self.made[turn]
            if tuple(size) not in taken
        }

    def took_all(self, turns: Iterable[int]) -> None:
        """All softmaxes of these runs are recorded now."""
        for turn in turns:
            self.taken[turn].update((numbers, keys) for _, numbers, keys in self.made[turn])
            self.left_out -= {path for path, *_ in self.made[turn]}

    @property
    def partial(self) -> set[int]:
        """Places of softmaxes of several sizes in one run of a module: pieces of one attention (windows, landmarks),
        which nothing tells how to put together. Two sides of one product (image to text, text to image) are no pieces."""
        return {
            place for sizes, places in self.softmaxes.values() if len({*map(frozenset, sizes)}) > 1 for place in places
        }


@functools.lru_cache(maxsize=8)
def sampled_rows(queries: int) -> Tensor:
    """The query rows whose returned output is kept: all up to 256, else 64 spread evenly with the first and the
    last. One tensor for all calls of a size: nobody may write into it.
    """
    if queries <= ALL_ROWS_UP_TO:
        return torch.arange(queries)
    return torch.linspace(0, queries - 1, SAMPLED_ROWS).round().long().unique()


def _named_by(call: AttentionCall) -> Took | None:
    """What took the output, where the call itself says so."""
    if call.projection is None:
        return None
    written = None if call.written is None else call.written.detach()[:, written_rows(call.query.shape[2])]
    return Took(None, written, call.output.dtype, call.projection)


def record_of(
    call: AttentionCall,
    path: str,
    place: int,
    number: int,
    cross: bool,
    masks: MaskReader,
    key_value: Callable[[int], KeyValue],
    all_rows: bool,
    offset: int | None = None,
    autocast: torch.dtype | None = None,
    rules: BatchRules | None = None,
) -> Record:
    """The record of one `call`: references to its tensors, its mask as a rule, and its output for a sample of rows. `autocast`:
    the dtype of what it cast to, if it was on. `rules`: of its mask and bias, where they were read before."""
    query, z = call.query.detach(), call.output.detach()
    rows = torch.arange(query.shape[2]) if all_rows else sampled_rows(query.shape[2])
    rows, note = _without_nan(rows, z) if call.direct else (rows, "")
    z = z if len(rows) == z.shape[1] else z[:, rows.to(z.device)]
    dropped = dropout_of(call)
    if dropped:
        note = "dropout was active in this pass, so the model's output cannot be computed again"
    note = call.edited or note
    return Record(
        place=place,
        path=path,
        call=number,
        query=query,
        key_value=key_value,
        rules=masks.read(call) if rules is None else rules,
        scaling=scaling_of(call),
        softcap=call.options.get("softcap"),
        sinks=read_sinks(call),
        window=call.options.get("sliding_window"),
        z=None if dropped or call.altered or not len(rows) else z,
        z_rows=rows,
        implementation=call.implementation,
        cross=cross,
        unknown=unknown_tensors(call),
        note=note,
        direct=call.direct,
        took=_named_by(call),
        coarsest=_coarsest(call, autocast),
        offset=offset,
        given=None if call.given is None else call.given.detach(),
    )


def autocast_of(call: AttentionCall) -> torch.dtype | None:
    """The dtype that autocast casts to where a call runs now; None where it is off."""
    kind = "cpu" if call.query.is_cpu else call.query.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _coarsest(call: AttentionCall, autocast: torch.dtype | None) -> torch.dtype:
    seen = {call.query.dtype, call.key.dtype, call.value.dtype, call.output.dtype} | ({autocast} if autocast else set())
    return call.query.dtype if len(seen) == 1 else max(seen, key=tolerance_of)


def _without_nan(rows: Tensor, output: Tensor) -> tuple[Tensor, str]:
    """The rows that can be compared, and a note on the others: nn.MultiheadAttention gives NaN where no key is allowed.
    `output`: [B, Q, H, Dv]."""
    blank = output.isnan().flatten(2).all(-1).any(0).cpu()
    if not bool(blank.any()):
        return rows, ""
    return rows[~blank[rows]], f"{int(blank.sum())} queries come out of the module as NaN, and are not compared"
