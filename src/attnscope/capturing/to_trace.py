"""From the records of one forward pass to the sites and tokens of a Trace."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.capturing.read.attention_call import BatchRules, MaskReader
from attnscope.capturing.read.kv_cache import KeyValue, Laid
from attnscope.capturing.read.qkv_projections import Origin
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.site import Projection, Site
from attnscope.tracing.tokens import Tokens, tokens_of
from attnscope.tracing.trace import Trace
from attnscope.tracing.weights_site import WeightsSite

NO_VECTORS = "this module computes its softmax by itself, so its weights were seen, and no q, k and v"
NET_NOTE = (
    "Attention outside transformers' interface was read from torch's own functions; torch leaves out its fused paths "
    "meanwhile, so the model's outputs agree with those of a plain pass to 4 ulp, and may not be equal to the bit."
)

Place = tuple[str | None, int]  # stack and layer


@dataclass
class Record:
    """One attention call of a pass, for a whole batch. query: [B, H, Q, D]; z: [B, R, H, Dv]. place: which call of the
    pass it was."""

    place: int
    path: str
    call: int
    query: Tensor
    key_value: Callable[[], KeyValue]
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
    projection: Projection | None = None
    x: Tensor | None = None
    pre_rotary: tuple[Tensor, Tensor] | None = None
    x_keys: Tensor | None = None
    origins: dict[str, Origin] = field(default_factory=dict)
    direct: bool = False

    @property
    def batch(self) -> int:
        return len(self.query)

    @property
    def dtype(self) -> torch.dtype:
        return self.query.dtype


@dataclass
class WeightsRecord:
    """A softmax over keys that met values, for a whole batch. weights: [B, H, Q, K]."""

    place: int
    path: str
    call: int
    weights: Tensor
    implementation: str
    cross: bool
    direct: bool = True
    unknown: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        return len(self.weights)

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.dtype


@dataclass
class Pass:
    """One forward pass of the model: all its calls in order (module path, cross or not), and the records of those kept.

    sizes: queries and keys of each call. softmaxes: sizes and places of the softmaxes in one run of a module.
    """

    order: list[tuple[str, bool]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    records: list[Record | WeightsRecord] = field(default_factory=list)
    masks: MaskReader = field(default_factory=MaskReader)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    softmaxes: dict[int, tuple[set[tuple[int, ...]], list[int]]] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)  # runs of modules whose attention was recorded with q, k and v
    net: bool = False

    @property
    def torn(self) -> set[int]:
        """Places of softmaxes of several sizes in one run of a module: pieces of one attention (windows, landmarks),
        which nothing tells how to put together."""
        return {place for sizes, places in self.softmaxes.values() if len(sizes) > 1 for place in places}

    @property
    def pooled(self) -> bool:
        """Whether what goes across runs last and reads, for other queries, what the others attend over."""
        crosses = [cross for _, cross in self.order]
        reads = {size for size, cross in zip(self.sizes, crosses, strict=True) if not cross}
        across = [size for size, cross in zip(self.sizes, crosses, strict=True) if cross]
        fits = all((keys, keys) in reads and (queries, queries) not in reads for queries, keys in across)
        return bool(across) and crosses == sorted(crosses) and fits


def site_of(record: Record | WeightsRecord, place: Place, index: int, names: int | None) -> Site:
    """Row `index` of the batch as a site. `names`: how many positions there are names for, None where there are none."""
    stack, layer = place
    if isinstance(record, WeightsRecord):
        return WeightsSite(
            given=_row(record.weights, index), path=record.path, call=record.call,
            kind="cross" if record.cross else "self", stack=stack, layer=layer, note=NO_VECTORS,
        )  # fmt: skip
    key, value = record.key_value()
    k, v = _row(key, index), _row(value, index)
    laid = Laid(k, v, *record.rules.row(index))
    q = _row(record.query, index)
    note = record.note
    if not record.cross:
        laid = laid.without_empty_places(q.shape[1])
        missing = (names or 0) - laid.k.shape[1]
        if missing > 0 and record.window is not None and laid.k.shape[1] >= record.window:
            laid = laid.with_dropped_keys(q.shape[1], laid.k.shape[1] + missing)
            note = f"the cache of this layer has dropped the first {missing} keys, outside its window: they are zeros here, and masked"
    pre_q, pre_k = record.pre_rotary or (None, None)
    return Site(
        q=q,
        k=laid.k,
        v=laid.v,
        scaling=record.scaling,
        path=record.path,
        call=record.call,
        kind="cross" if record.cross else "self",
        stack=stack,
        layer=layer,
        softcap=record.softcap,
        mask=laid.mask,
        position_bias=laid.bias,
        sinks=record.sinks,
        z=None if record.z is None else _row(record.z, index).transpose(0, 1),
        z_rows=None if record.z is None else record.z_rows,
        projection=record.projection,
        x=_row(record.x, index) if record.x is not None and record.x.ndim == 3 else None,
        x_keys=None
        if record.x_keys is None or record.x_keys.shape[1] != laid.k.shape[1]
        else _row(record.x_keys, index),
        pre_rotary_q=None if pre_q is None else _row(pre_q, index).detach(),
        pre_rotary_k=None if pre_k is None else _row(pre_k, index).detach(),
        **_origins(record, index),
        note=note,
    )


def _origins(record: Record, index: int) -> dict[str, Any]:
    """W_q, W_k and W_v, as far as they were found, and what went into the norms between them and q, k."""
    found: dict[str, Any] = {f"w_{name}": origin.projection for name, origin in record.origins.items()}
    for name, origin in record.origins.items():
        if origin.before is not None and name != "v":
            found[f"pre_norm_{name}"] = _row(origin.before, index)
    return found


def _row(tensor: Float[Tensor, "B *rest"], index: int) -> Float[Tensor, "*rest"]:
    """Row `index`; of a tensor that all rows share, its only one."""
    return tensor[index % len(tensor)]


def given_names(tokenizer: Any, input_ids: Any, tokens: Any, index: int) -> Tokens | None:
    """What the caller calls the positions, or None."""
    if tokens is not None:
        return tokens if isinstance(tokens, Tokens) else Tokens(tuple(map(str, tokens)))
    if input_ids is None:
        return None
    ids = torch.as_tensor(input_ids)
    if ids.ndim == 2 and not -len(ids) <= index < len(ids):
        raise InputError(f"input_ids have {len(ids)} rows, and row {index} is wanted: give the ids of the whole batch.")
    return tokens_of(tokenizer, (ids[index] if ids.ndim == 2 else ids).tolist())


def name_positions(sites: Sequence[Site], named: Tokens | None, target: Tokens | None) -> tuple[Tokens, Tokens | None]:
    """Names for what the model read and, where there is a decoder beside it, for what that read; numbers without any.

    Raises InputError where the names given do not fit the sites.
    """
    read, decoder = _length(sites, "read"), _length(sites, "decoder")
    if target is None and read is not None and decoder is not None:
        target = _numbers(decoder)
    elif target is not None:
        _check_length(target, decoder)
    named = named if named is not None else _numbers(read if read is not None else decoder or 0)
    if any(site.query_offset for site in sites) and len(named) == (read or 0) + 1:
        named = named.select(range(len(named) - 1))  # generate() returns one token more than the model has read
    _check_length(named, read if read is not None else decoder)
    return named, target


def _length(sites: Sequence[Site], what: str) -> int | None:
    """Positions of what was read (keys of the encoder, of cross-attention, of a model without a decoder beside it), or
    of the decoder; the longest, where caches have dropped some."""
    lengths = [
        site.queries if site.stack == "cross" and what == "decoder" else site.keys
        for site in sites
        if site.stack == "cross" or (site.stack == "decoder") == (what == "decoder")
    ]
    return max(lengths, default=None)


def _numbers(length: int) -> Tokens:
    return Tokens(tuple(map(str, range(length))))


def _check_length(named: Tokens, length: int | None) -> None:
    if length is not None and len(named) != length:
        raise InputError(
            f"{len(named)} tokens were given, but this pass attends over {length} positions. With a cache, give the ids "
            "of the whole text so far; for another pass, say which with forward=."
        )


def checked(trace: Trace, records: Sequence[Record | WeightsRecord]) -> Trace:
    """Refuse, by name, tensor arguments that attnscope does not know, unless the output shows they change nothing."""
    unknown = {record.path: record.unknown for record in records if record.unknown}
    sites = []
    for site in trace.sites:
        if site.path in unknown:
            names = ", ".join(unknown[site.path])
            if site.verify().status != "exact":
                raise CaptureError(
                    f"{site.path} passes attention a tensor argument that attnscope does not know ({names}), and without it "
                    "the model's own output cannot be reproduced. Its weights would be wrong, so they are not shown."
                )
            site = replace(site, note=f"called with the unknown argument {names}, which changes nothing here")
        sites.append(site)
    return trace.replace_sites(sites) if unknown else trace


def broken_numbers(sites: Sequence[Site]) -> list[str]:
    """A note for the reader where q, k or v hold NaN or infinite values: the layers, named."""
    broken = [site.name for site in sites if not all(map(_finite, site.kept.values()))]
    if not broken:
        return []
    names = ", ".join(broken[:8]) + (f" and {len(broken) - 8} more" if len(broken) > 8 else "")
    where = "the weights" if all(site.weights_only for site in sites) else "q, k or v"
    return [f"The model computes NaN or infinite values: they are in {where} of {names}, and are shown as they are."]


def _finite(x: Tensor) -> bool:
    # A sum is several times cheaper than a look at each value; it may overflow, and then that look decides.
    return bool(x.sum(dtype=torch.float32).isfinite()) or bool(x.isfinite().all())


def net_notes(chosen: Pass, sites: Sequence[Site]) -> list[str]:
    """What a reader must know of a pass in which torch's own functions were watched."""
    if not chosen.net:
        return []
    notes = [NET_NOTE]
    only = [site.name for site in sites if site.weights_only]
    if only:
        names = ", ".join(only[:8]) + (f" and {len(only) - 8} more" if len(only) > 8 else "")
        notes.append(f"Weights only ({names}): {NO_VECTORS}.")
    return notes
