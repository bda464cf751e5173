"""The scores of a block of queries, compiled: in memory that stays in the cache, with cap, bias and mask, ready for a softmax.

Only plain loops over one row are written out, in the forms that LLVM turns into vectors.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from attnscope.statistics.kernel.store import folder
from attnscope.statistics.kernel.tile import COLUMNS, ROWS, score_tile

# What the compiler may assume: no NaN, no infinities (sites that have some are not given to it), any order of summation.
ASSUMED = {"contract", "reassoc", "nsz", "nnan", "ninf", "arcp"}
FLOATS = 1 << 16  # of a block's scores: a quarter of a processor's second cache
MOST_ROWS = 8 * ROWS

f32, i32 = np.float32, np.int32
ZERO, ONE, HALF, TWO = f32(0), f32(1), f32(0.5), f32(2)
LOWEST = f32(-127)  # 2 to this power comes out as 0
SIGN, BIAS, MANTISSA = i32(31), i32(127), i32(23)
REST = i32(0x7FFFFFFF)
# 2^x = 1 + x (…) between −1/2 and 1/2, to 3e-8
P1, P2, P3, P4, P5, P6 = (
    f32(p) for p in (0.693147180, 0.240226507, 0.0555041087, 0.00961812911, 0.00133335581, 0.000154035304)
)
LOG2_E = f32(1.4426950408889634)


class Numbers(NamedTuple):
    """What the call has beside q and k. `bias`: [Hb, X], flat for each head: where `bias_step` is −1 by diagonals, else a
    row of `bias_step` keys after the other, from `bias_start` on; X is 0 without. `sinks`: [H], or of length 0. All of
    them, and `factor`, to the base 2. `softcap`: 0 without.
    """

    factor: float
    softcap: float
    bias: "np.ndarray"
    bias_start: int
    bias_step: int
    sinks: "np.ndarray"


def compiled(function: Callable, cache: bool = False) -> Callable:
    """By numba, when it is first called: without the interpreter's lock, so that threads run side by side."""
    function = inspect.unwrap(function)  # a type checker's wrapper is nothing to compile
    return numba.njit(nogil=True, fastmath=ASSUMED, error_model="numpy", cache=cache)(function)


def kept(function: Callable) -> Callable:
    """The same, kept on disk with all that it calls."""
    settings, store = numba.config, folder()
    if store is None:
        return compiled(function)
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(store)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return compiled(function, cache=True)
    except (RuntimeError, OSError):  # the disk does not want it
        return compiled(function)
    finally:
        settings.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]


@compiled
def highest(row):
    """The largest score: compared as whole numbers in the same order, which vectorises."""
    best = i32(-(2**31))
    for j in range(row.shape[0]):
        bits = f32(row[j]).view(np.int32)
        best = max(best, bits ^ ((bits >> SIGN) & REST))
    best = i32(best)
    return i32(best ^ ((best >> SIGN) & REST)).view(np.float32)


@compiled
def _bend(row, cap):
    """cap · tanh(score / cap), to the base 2 before and after."""
    part = TWO * LOG2_E / cap
    for j in range(row.shape[0]):
        # tanh(y) = −m / (m + 2) with m = e^(−2y) − 1: e^… − 1 is exact near 0, where 1 − e^… would lose digits
        y = row[j] * part
        size = min(abs(y), f32(60))
        n = np.floor(HALF - size)
        f = -size - n
        p = f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * (P5 + f * P6)))))
        power = i32((i32(n) + BIAS) << MANTISSA).view(np.float32)
        minus = power * p + (power - ONE)
        bent = -minus / (minus + TWO)
        row[j] = cap * (bent if y > ZERO else -bent)


@compiled
def to_powers(row, top):
    """2^(score − top) in place; their sum, and the sum of each times (score − top)."""
    total, spread = ZERO, ZERO
    for j in range(row.shape[0]):
        x = max(row[j] - top, LOWEST)
        n = np.floor(x + HALF)
        f = x - n
        p = ONE + f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * (P5 + f * P6)))))
        power = i32((i32(n) + BIAS) << MANTISSA).view(np.float32) * p
        row[j] = power
        total += power
        spread += power * x
    return total, spread


@kept
def pack_keys(keys, out):
    """[K, D] as tiles want them: COLUMNS keys beside each other for every d; zeros behind the last."""
    count, size = keys.shape
    for j in range(count):
        start = j // COLUMNS * COLUMNS * size + j % COLUMNS
        for d in range(size):
            out[start + d * COLUMNS] = keys[j, d]


@compiled
def _pack_queries(queries, start, stop, factor, out):
    size = queries.shape[1]
    for i in range(start, stop):
        at = (i - start) // ROWS * ROWS * size + (i - start) % ROWS
        for d in range(size):
            out[at + d * ROWS] = queries[i, d] * factor


@compiled
def room_of(keys, size):
    """(scores [rows, width], query [rows · D]): room for as many queries as the cache holds."""
    width = (keys + COLUMNS - 1) // COLUMNS * COLUMNS
    block = max(ROWS, min(MOST_ROWS, FLOATS // width // ROWS * ROWS))
    return np.zeros((block, width), np.float32), np.zeros(block * size, np.float32)


@compiled
def score_block(queries, packed, factor, low, high, start, end, query, scores):
    """The scores of the queries from `start` to `end`, into `scores`; the keys that some of them see: (left, right).

    `queries`: [Q, D]. `packed`: see pack_keys. `low`, `high`: [Q], the keys that each sees. `query`: room for the queries.
    """
    size, width, flat = queries.shape[1], scores.shape[1], scores.reshape(-1)
    left, right = low[start], high[start]
    for i in range(start, end):
        left, right = min(left, low[i]), max(right, high[i])
    if right > left:
        _pack_queries(queries, start, end, factor, query)
        for panel in range(left // COLUMNS, (right + COLUMNS - 1) // COLUMNS):
            for tile in range((end - start + ROWS - 1) // ROWS):
                score_tile(  # pyright: ignore[reportCallIssue]
                    query,
                    packed,
                    flat,
                    tile * ROWS * size,
                    panel * COLUMNS * size,
                    tile * ROWS * width + panel * COLUMNS,
                    width,
                    size,
                )
    return left, right


@compiled
def finish_row(row, numbers, head, i, low, high, holes, hidden):
    """Cap, bias and mask of query `i` of a `head`, on its `row` of scores. `holes`: whether some key is hidden from all."""
    if numbers.softcap > ZERO:
        _bend(row[low:high], numbers.softcap)
    if numbers.bias.shape[1] > 0:
        bias = numbers.bias[head if numbers.bias.shape[0] > 1 else 0]
        from_key = numbers.bias_start + i * numbers.bias_step
        for j in range(low, high):
            row[j] += bias[from_key + j]
    if holes:
        for j in range(low, high):
            row[j] += hidden[j]
