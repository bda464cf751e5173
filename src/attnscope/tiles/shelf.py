"""Pyramids that were used last, as many as fit; each is made once, whoever asks for it."""

import weakref
from collections import OrderedDict
from threading import Lock, RLock
from typing import NamedTuple

from attnscope.tiles.pyramid import Progress, Pyramid, pyramid_of
from attnscope.tracing.trace import Trace

ROOM = 256 << 20  # bytes of all pyramids of this process


class Place(NamedTuple):
    """A head of a site of a trace, by the trace's id. `add`: the pyramid of sums."""

    trace: int
    site: int
    head: int
    add: bool


_kept: "OrderedDict[Place, Pyramid]" = OrderedDict()
_making: dict[Place, Lock] = {}
_known: "weakref.WeakSet[Trace]" = weakref.WeakSet()
_lock = RLock()  # a trace may go away, and be forgotten, while this thread holds it


def kept(trace: Trace, site: int, head: int, add: bool) -> Pyramid | None:
    """The pyramid, if it is at hand."""
    place = Place(id(trace), site, head, add)
    with _lock:
        if place in _kept:
            _kept.move_to_end(place)
        return _kept.get(place)


def made(trace: Trace, site: int, head: int, add: bool, progress: Progress) -> Pyramid:
    """The pyramid: from memory, or made now. Two threads that ask for the same one wait for one pass."""
    place = Place(id(trace), site, head, add)
    with _lock:
        making = _making.setdefault(place, Lock())
    try:
        with making:
            found = kept(trace, site, head, add)
            if found is None:
                found = pyramid_of(trace.sites[site], head, add, progress)
                _put(trace, place, found)
    finally:
        with _lock:
            _making.pop(place, None)
    return found


def forget(trace: int | None = None) -> None:
    """The pyramids of one trace, by its id, or all of them."""
    with _lock:
        for place in list(_kept):
            if trace in (None, place.trace):
                _kept.pop(place, None)


def _put(trace: Trace, place: Place, pyramid: Pyramid) -> None:
    with _lock:
        if trace not in _known:
            _known.add(trace)
            weakref.finalize(trace, forget, id(trace))
        _kept[place] = pyramid
        size = sum(one.nbytes for one in list(_kept.values()))
        while size > ROOM and len(_kept) > 1:
            size -= _kept.popitem(last=False)[1].nbytes
