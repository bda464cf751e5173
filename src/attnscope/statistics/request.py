"""Statistics of a trace by name: those of the model level, those on request, and those of the weights."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError, NotCaptured
from attnscope.statistics.definitions import STATISTICS, Statistic
from attnscope.statistics.from_weights.scores import OF_TOKENS, SCORES, known, scores_of
from attnscope.statistics.from_weights.vocabulary import Vocabulary
from attnscope.statistics.further.block import Setting, knows_writes
from attnscope.statistics.further.compute import further_sums
from attnscope.statistics.further.entries import ENTRIES, FURTHER
from attnscope.statistics.table import HeadStatistics, StatisticsTable
from attnscope.statistics.thumbnails import pairs_at, thumbnails_at
from attnscope.statistics.totals import Means
from attnscope.tracing.trace import Trace

EVERY: dict[str, Statistic] = {
    statistic.name: statistic for statistic in (*STATISTICS, *(entry.statistic for entry in ENTRIES), *SCORES)
}
_PRESENT, _BY_WEIGHTS = {s.name for s in STATISTICS}, {s.name for s in SCORES}
ByKey = dict[str, dict[tuple[str | None, int], Float[Tensor, "H K"]]]


def statistics_of(trace: Trace, names: Any = None, model: Any = None) -> StatisticsTable:
    """The statistics in `names`, in this order; see Trace.statistics."""
    asked = _parse(names)
    vocabulary = None if model is None or not {*asked} & {*OF_TOKENS} else Vocabulary(model)
    if names is not None:
        _check(trace, asked, model)
    rows: list[HeadStatistics] = []
    by_key: ByKey = {}
    for index, site in enumerate(trace.sites):
        found = _of_site(trace, index, asked, vocabulary, by_key)
        for head in range(site.heads):
            values = {name: found[name][head] if name in found else None for name in asked}
            rows.append(HeadStatistics(site.stack, site.layer, head, values))
    if names is None:
        asked = tuple(name for name in asked if any(row[name] is not None for row in rows))
        rows = [HeadStatistics(r.stack, r.layer, r.head, {name: r[name] for name in asked}) for r in rows]
    return StatisticsTable(tuple(rows), tuple(EVERY[name] for name in asked), by_key)


def _of_site(
    trace: Trace, index: int, names: Sequence[str], vocabulary: Vocabulary | None, by_key: ByKey
) -> Mapping[str, tuple[float | None, ...]]:
    site, found = trace.sites[index], Means()
    if _PRESENT & {*names}:
        found |= thumbnails_at(trace, index, exact=True).statistics
    further = [name for name in names if name in FURTHER]
    if further:
        setting = Setting(site, pairs_at(trace, index), trace.key_tokens(site))
        sums = further_sums(setting, further)
        found |= sums.finish()
        for name, keys in sums.by_key.items():
            by_key.setdefault(name, {})[site.stack, site.layer] = keys.float()
    if _BY_WEIGHTS & {*names} and known(site):
        found |= scores_of(site, vocabulary)
    return found


def _parse(names: Any) -> tuple[str, ...]:
    if names is None:
        return tuple(EVERY)
    given = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    unknown = [name for name in given if not isinstance(name, str) or name not in EVERY]
    asked = () if unknown else tuple(dict.fromkeys(given))
    if unknown or not asked:
        what = repr(unknown[0]) if unknown else "none"
        raise InputError(f"expected names of statistics, got {what}; there are {', '.join(EVERY)}.")
    return asked


def _check(trace: Trace, names: Sequence[str], model: Any) -> None:
    """What was asked for by name, and cannot be had of any site."""
    for name in names:
        if name in OF_TOKENS and model is None:
            raise NotCaptured(f"{name} needs the embedding of the model: pass it, statistics({name!r}, model=model).")
        if name in _BY_WEIGHTS and not any(map(known, trace.sites)):
            raise NotCaptured(
                f"{name} is read off the weights W_V and W_O of self-attention, which this trace does not hold: trace with "
                'keep={"projections"}. Of traces made of tensors there is none.'
            )
        entry = FURTHER.get(name)
        if entry is not None and entry.needs and not any(map(knows_writes, trace.sites)):
            raise NotCaptured(
                f"{name} needs {entry.needs}, which this trace does not hold: trace the model itself, or save with "
                "trace.save(path, projections=True)."
            )
