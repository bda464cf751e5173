"""One pass over the weights of some heads, compiled: what `Sums.update` does with blocks, while they are in the cache.

A block of queries comes and goes in memory of its own: its scores (`score_tile`), each row's softmax, and what the row
comes to. Only plain loops over one row are written out, in the forms that LLVM turns into vectors.
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


class Found(NamedTuple):
    """What comes of it: as the fields of `Sums`, with an axis [H] or [H, …] first. `values`: [H, len(VALUES)], see `table`."""

    values: "np.ndarray"
    received: "np.ndarray"
    own: "np.ndarray"
    peak: "np.ndarray"
    peak_rows: "np.ndarray"
    link: "np.ndarray"
    link_place: "np.ndarray"
    pooled: "np.ndarray"


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
def _highest(row):
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
def _powers(row, top):
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


@compiled
def _add(row, part, middle, received, tall):
    """The weights of a row, power · part; their largest, and Σ weight · |key − middle|."""
    best, apart = i32(0), ZERO
    for j in range(row.shape[0]):
        weight = row[j] * part
        received[j] += weight
        tall[j] = weight if weight > tall[j] else tall[j]
        best = max(best, f32(weight).view(np.int32))
        apart += weight * abs(f32(i32(j)) - middle)
    return i32(best).view(np.float32), apart


@compiled
def _add_word(row, part, middle, received, tall, peak):
    """The same, and the largest weight of each key."""
    best, apart = i32(0), ZERO
    for j in range(row.shape[0]):
        weight = row[j] * part
        received[j] += weight
        tall[j] = weight if weight > tall[j] else tall[j]
        peak[j] = weight if weight > peak[j] else peak[j]
        best = max(best, f32(weight).view(np.int32))
        apart += weight * abs(f32(i32(j)) - middle)
    return i32(best).view(np.float32), apart


@compiled
def _pool(tall, edges, row):
    """Into a row of the picture; what it came from is 0 again."""
    for c in range(row.shape[0]):
        best = i32(f32(row[c]).view(np.int32))
        for j in range(edges[c], edges[c + 1]):
            best = max(best, f32(tall[j]).view(np.int32))
        row[c] = i32(best).view(np.float32)
    tall[:] = ZERO


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
def _set_aside(row, keys, start, stop, low, high, places, powers, count):
    """Take the powers of these keys out of the row."""
    for x in range(start, stop):
        j = keys[x]
        if low <= j < high and row[j] != ZERO:
            places[count], powers[count] = j, row[j]
            row[j] = ZERO
            count += 1
    return count


@kept
def fold(queries, packed, numbers, table, found, first, stop, step, rows_start, rows_stop):
    """Heads first, first + step, … below stop; queries from rows_start to rows_stop.

    `queries`: [H, Q, D]. `packed`: [Hkv, …], see pack_keys. `found`: zeros before.
    """
    heads, size, keys = queries.shape[0], queries.shape[2], table.is_special.shape[0]
    width = (keys + COLUMNS - 1) // COLUMNS * COLUMNS
    block = max(ROWS, min(MOST_ROWS, FLOATS // width // ROWS * ROWS))
    scores, query = np.zeros((block, width), np.float32), np.zeros(block * size, np.float32)
    flat = scores.reshape(-1)
    received, tall, peak = np.zeros(keys, np.float32), np.zeros(keys, np.float32), np.zeros(keys, np.float32)
    places, powers = np.zeros(keys, np.int64), np.zeros(keys, np.float32)
    group = heads // packed.shape[0]
    first_key, last_key = table.low[rows_start:rows_stop], table.high[rows_start:rows_stop]
    for head in range(first, stop, step):
        panels = packed[head // group]
        values, best = found.values[head], ZERO
        pooled = found.pooled[head]
        patch = np.searchsorted(table.row_edges, rows_start, side="right") - 1
        for start in range(rows_start, rows_stop, block):
            end = min(start + block, rows_stop)
            left, right = first_key[start - rows_start], last_key[start - rows_start]
            for i in range(start, end):
                left, right = min(left, table.low[i]), max(right, table.high[i])
            if right > left:
                _pack_queries(queries[head], start, end, numbers.factor, query)
                for panel in range(left // COLUMNS, (right + COLUMNS - 1) // COLUMNS):
                    for tile in range((end - start + ROWS - 1) // ROWS):
                        score_tile(  # pyright: ignore[reportCallIssue]
                            query,
                            panels,
                            flat,
                            tile * ROWS * size,
                            panel * COLUMNS * size,
                            tile * ROWS * width + panel * COLUMNS,
                            width,
                            size,
                        )
            for i in range(start, end):
                while i >= table.row_edges[patch + 1]:
                    _pool(tall, table.column_edges, pooled[patch])
                    patch += 1
                low, high, at = table.low[i], table.high[i], i + table.offset
                if not table.sees[i]:
                    if table.spreads and numbers.sinks.shape[0] == 0:
                        for j in range(keys):
                            tall[j] = max(tall[j], ONE / f32(keys))
                    continue
                row = scores[i - start]
                seen = row[low:high]
                if numbers.softcap > ZERO:
                    _bend(seen, numbers.softcap)
                if numbers.bias.shape[1] > 0:
                    bias = numbers.bias[head if numbers.bias.shape[0] > 1 else 0]
                    from_key = numbers.bias_start + i * numbers.bias_step
                    for j in range(low, high):
                        row[j] += bias[from_key + j]
                if table.holes:
                    for j in range(low, high):
                        row[j] += table.hidden[j]
                highest = _highest(seen)
                top, sink, sink_apart = highest, ZERO, ZERO
                if numbers.sinks.shape[0] > 0:
                    top = max(highest, numbers.sinks[head])
                    sink_apart = numbers.sinks[head] - top
                    sink = f32(2.0 ** np.float64(sink_apart))
                total, spread = _powers(seen, top)
                total += sink
                part = ONE / total
                largest = part if highest == top else f32(2.0 ** np.float64(highest - top)) * part
                values[0] += np.log2(np.float64(total)) - np.float64((spread + sink * sink_apart) * part)
                values[1] += largest
                values[2] += sink * part
                own, is_special = ZERO, table.query_special[i]
                if not table.crossing:
                    for by in range(-1, 2):
                        if low <= at + by < high:
                            weight = row[at + by] * part
                            values[5 if by < 0 else 4 + 2 * by] += weight
                            own = weight if by == 0 else own
                    same, after = ZERO, ZERO
                    for x in range(table.name[i, 0], table.name[i, 1]):
                        j = table.by_name[x]
                        if j >= at:
                            break
                        if low <= j < high:
                            same += row[j]
                        if low <= j + 1 < high:
                            after += row[j + 1]
                    values[7] += same * part
                    values[8] += after * part
                    found.own[head, at] += own
                count, linked = 0, 0
                if not is_special:
                    count = _set_aside(row, table.special, 0, table.special.shape[0], low, high, places, powers, count)
                    if not table.crossing and low <= at < high and row[at] != ZERO:
                        places[count], powers[count], row[at] = at, row[at], ZERO
                        count += 1
                    linked = count
                    if not table.query_wordless[i]:
                        keys_from, keys_to = table.spelling[i]
                        count = _set_aside(row, table.by_spelling, keys_from, keys_to, low, high, places, powers, count)
                        keys_from, keys_to = table.word[i]
                        count = _set_aside(row, table.by_word, keys_from, keys_to, low, high, places, powers, count)
                middle = f32(at - low)
                if is_special or table.query_wordless[i]:
                    link, apart = _add(seen, part, middle, received[low:high], tall[low:high])
                else:
                    link, apart = _add_word(seen, part, middle, received[low:high], tall[low:high], peak[low:high])
                for x in range(count):
                    j, weight = places[x], powers[x] * part
                    received[j] += weight
                    tall[j] = max(tall[j], weight)
                    apart += weight * f32(abs(j - at))
                    if x >= linked:
                        link = max(link, weight)
                        row[j] = powers[x]
                values[3] += apart
                if link > best and not is_special:
                    for j in range(low, high):  # the first of equal ones
                        if row[j] * part > best:
                            best = row[j] * part
                            found.link[head], found.link_place[0, head], found.link_place[1, head] = best, i, j
            for j in range(left, right):
                found.received[head, j] += received[j]
                received[j] = ZERO
                if peak[j] > found.peak[head, j]:
                    found.peak[head, j] = peak[j]
                    found.peak_rows[0, head, j], found.peak_rows[1, head, j] = start, end
                peak[j] = ZERO
        _pool(tall, table.column_edges, pooled[patch])
        values[0] *= np.log(2.0)


@kept
def sight(table, visible, seen, counts, rows_start, rows_stop):
    """Which patches some query may see, [R, C]; how many queries see each key, [K]; and of how many queries the
    statistics are means, in the order of VALUES, then of the first and of the special keys.
    """
    keys = table.is_special.shape[0]
    before = np.zeros(keys + 1, np.int64)
    for j in range(keys):
        before[j + 1] = before[j] + (table.hidden[j] == ZERO)
    patch = np.searchsorted(table.row_edges, rows_start, side="right") - 1
    for i in range(rows_start, rows_stop):
        if not table.sees[i]:
            continue
        while i >= table.row_edges[patch + 1]:
            patch += 1
        low, high, at = table.low[i], table.high[i], i + table.offset
        for c in range(visible.shape[1]):
            left, right = max(low, table.column_edges[c]), min(high, table.column_edges[c + 1])
            if not visible[patch, c] and right > left and before[right] > before[left]:
                visible[patch, c] = True
        seen[low] += 1
        seen[high] -= 1
        counts[:3] += 1
        counts[9] += _open(table, 0, low, high)
        special = False
        for x in range(table.special.shape[0]):
            special = special or _open(table, table.special[x], low, high)
        counts[10] += special
        if table.crossing:
            continue
        counts[4] += _open(table, at, low, high)
        counts[5] += _open(table, at - 1, low, high)
        counts[6] += _open(table, at + 1, low, high)
        same, after = False, False
        for x in range(table.name[i, 0], table.name[i, 1]):
            j = table.by_name[x]
            if j >= at or (same and after):
                break
            same = same or _open(table, j, low, high)
            after = after or _open(table, j + 1, low, high)
        counts[7] += same
        counts[8] += after
    total = 0.0
    for j in range(keys):
        total += seen[j]
        seen[j] = total if table.hidden[j] == ZERO else 0.0


@compiled
def _open(table, j, low, high):
    return low <= j < high and table.hidden[j] == ZERO
