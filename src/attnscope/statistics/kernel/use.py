"""When the compiled pass is used. Plain torch gives the same numbers; nobody waits for a compiler that does not pay off.

Loading compiled code takes about a second, compiling it some ten. So plain torch computes until, with the site at hand,
it has done as much as loading would cost (where the code is kept on disk) or compiling (where it is not): then that is
done, once, with a line that says so, and from there on every site on a processor goes the compiled way.
ATTNSCOPE_COMPILED=0 in the environment: never; 1: from the first site on.
"""

import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Lock

import torch

from attnscope.statistics.kernel import store
from attnscope.statistics.kernel.block_pass import BlockPass
from attnscope.statistics.kernel.run import parts_of
from attnscope.statistics.pairs import Pairs
from attnscope.text.status import status
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens

WEIGHTS_OF_LOADING = 1 << 28  # that plain torch computes while compiled code is loaded
WEIGHTS_OF_COMPILING = 1 << 31  # and while it is compiled
SWITCH = "ATTNSCOPE_COMPILED"


@dataclass
class _State:
    """`ready`: loaded, and its numbers are right. `refused`: not to be had here. `weights`: computed so far without."""

    ready: bool = False
    refused: bool = False
    weights: int = 0


_state, _lock = _State(), Lock()


def may_run(site: Site, queries: int, heads: int | None = None) -> bool:
    """Whether the compiled pass can take so many queries of a site whose scores are all moderate, and is worth it.

    `heads`: how many of its heads; None: all.
    """
    asked = os.environ.get(SWITCH, "")
    if (
        asked == "0"
        or _state.refused
        or site.mask.packed is not None
        or (site.position_bias is not None and site.position_bias.blocks is not None)
        or site.weights_only
        or site.q.device.type != "cpu"
    ):
        return False
    if _state.ready:
        return True
    with _lock:
        _state.weights += (heads or site.heads) * site.keys * queries
        if not (_state.ready or _state.refused) and _worth(asked == "1"):
            _load()
    return _state.ready


def refuse(error: Exception) -> None:
    """The compiled pass failed: plain torch from here on."""
    _state.ready, _state.refused = False, True
    warnings.warn(
        f"the compiled statistics cannot be used here ({type(error).__name__}); plain torch computes the same numbers. "
        f"{SWITCH}=0 in the environment leaves them out.",
        stacklevel=2,
    )


def _worth(asked: bool) -> bool:
    if not asked and _state.weights < WEIGHTS_OF_LOADING:
        return False
    if find_spec("numba") is None:
        _state.refused = True
        return False
    if asked or _state.weights >= WEIGHTS_OF_COMPILING:
        return True
    try:
        return store.any_ready() and store.is_ready()
    except Exception as error:  # of an import: numba and numpy are particular about each other
        refuse(error)
        return False


def _load() -> None:
    try:
        if store.is_ready():
            _prove()
        else:
            with status("compiling the statistics for this processor, once: about ten seconds …"):
                _prove()
            store.mark_ready()
        _seal()
        _state.ready = True
    except Exception as error:
        refuse(error)


def _prove() -> None:
    """Run on a small site, which compiles or loads everything, and compare with torch."""
    generator = torch.Generator().manual_seed(1)
    q, k = (torch.randn(heads, 11, 5, generator=generator) for heads in (2, 1))
    site, tokens = Site(q, k, k, 0.7), Tokens(tuple(f"t{number % 4}" for number in range(11)))
    found = parts_of(site, Pairs(site, tokens, tokens), 3, [slice(0, 5), slice(5, 11)])
    expected = (q.double() @ k.double().mT * 0.7).softmax(-1).sum(1)
    if not torch.allclose(sum(part.received for part in found), expected, rtol=1e-4):  # pyright: ignore[reportArgumentType]
        raise ArithmeticError("the compiled statistics are wrong")
    exact = (q[:1].double() @ k.double().mT * 0.7).softmax(-1)
    for add, largest in ((False, exact.max()), (True, exact.sum())):
        blocks = BlockPass(site, 0, 16, add)
        blocks.run(slice(0, 11))
        if not torch.allclose(torch.from_numpy(blocks.cells).double(), largest, rtol=1e-4):
            raise ArithmeticError("the compiled blocks are wrong")


def _seal() -> None:
    """Compile nothing more: a view must not stop for it unannounced."""
    from attnscope.statistics.kernel import blocks, fold, scores

    for function in (fold.fold, fold.sight, scores.pack_keys, blocks.reduce_blocks):
        function.disable_compile()  # pyright: ignore[reportFunctionMemberAccess]
