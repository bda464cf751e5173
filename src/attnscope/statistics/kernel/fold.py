"""One pass over the weights of some heads, compiled: what `Sums.update` does with blocks, while they are in the cache.

A block of queries comes and goes in memory of its own: its scores (see `scores`), each row's softmax, and what the row
comes to.
"""

from typing import NamedTuple

import numpy as np

from attnscope.statistics.kernel.scores import (
    ONE,
    ZERO,
    compiled,
    f32,
    finish_row,
    highest,
    i32,
    kept,
    room_of,
    score_block,
    to_powers,
)


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
    scores, query = room_of(keys, size)
    block = scores.shape[0]
    received, tall, peak = np.zeros(keys, np.float32), np.zeros(keys, np.float32), np.zeros(keys, np.float32)
    places, powers = np.zeros(keys, np.int64), np.zeros(keys, np.float32)
    group = heads // packed.shape[0]
    for head in range(first, stop, step):
        panels = packed[head // group]
        values, best = found.values[head], found.link[head]
        pooled = found.pooled[head]
        patch = np.searchsorted(table.row_edges, rows_start, side="right") - 1
        for start in range(rows_start, rows_stop, block):
            end = min(start + block, rows_stop)
            left, right = score_block(
                queries[head], panels, numbers.factor, table.low, table.high, start, end, query, scores
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
                finish_row(row, numbers, head, i, low, high, table.holes, table.hidden)
                most = highest(seen)
                top, sink, sink_apart = most, ZERO, ZERO
                if numbers.sinks.shape[0] > 0:
                    top = max(most, numbers.sinks[head])
                    sink_apart = numbers.sinks[head] - top
                    sink = f32(2.0 ** np.float64(sink_apart))
                total, spread = to_powers(seen, top)
                total += sink
                part = ONE / total
                largest = part if most == top else f32(2.0 ** np.float64(most - top)) * part
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
