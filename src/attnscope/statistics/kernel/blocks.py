"""The weights of one head, pooled into square blocks while they are in the cache: the compiled pass behind tiles."""

import numpy as np

from attnscope.statistics.kernel.scores import (
    ONE,
    ZERO,
    compiled,
    f32,
    finish_row,
    highest,
    kept,
    room_of,
    score_block,
    to_powers,
)

UNSEEN = f32(-1)


@compiled
def _largest(row, part, tall):
    for j in range(row.shape[0]):
        weight = row[j] * part
        tall[j] = weight if weight > tall[j] else tall[j]


@compiled
def _sum(row, part, tall):
    for j in range(row.shape[0]):
        before = tall[j] if tall[j] > ZERO else ZERO
        tall[j] = before + row[j] * part


@compiled
def _pool_largest(tall, hidden, side, out):
    for c in range(out.shape[0]):
        best = UNSEEN
        for j in range(c * side, min((c + 1) * side, tall.shape[0])):
            if hidden[j] == ZERO and tall[j] > best:
                best = tall[j]
        out[c] = best
    tall[:] = UNSEEN


@compiled
def _pool_sum(tall, hidden, side, out):
    for c in range(out.shape[0]):
        total, seen = ZERO, False
        for j in range(c * side, min((c + 1) * side, tall.shape[0])):
            if hidden[j] == ZERO and tall[j] >= ZERO:
                total, seen = total + tall[j], True
        out[c] = total if seen else UNSEEN
    tall[:] = UNSEEN


@kept
def reduce_blocks(queries, packed, numbers, head, band, side, add, out, level, rows_start, rows_stop):
    """Blocks of `side` × `side` weights of one head, from query rows_start, the first of a block, up to rows_stop.

    `queries`: [Q, D]. `packed`: see pack_keys. `band`: (low, high, hidden, sees) of a Table. `add`: sums, else the largest.
    `out`: [blocks of queries, blocks of keys]; -1 where no query may see a key. `level`: [Q], log2 of the sum of a row's
    powers; what it was before in rows that see no key.
    """
    low_of, high_of, hidden, sees = band
    size, keys = queries.shape[1], hidden.shape[0]
    scores, query = room_of(keys, size)
    block = scores.shape[0]
    tall = np.full(keys, UNSEEN)
    holes = False
    for j in range(keys):
        holes = holes or hidden[j] != ZERO
    for start in range(rows_start, rows_stop, block):
        end = min(start + block, rows_stop)
        score_block(queries, packed, numbers.factor, low_of, high_of, start, end, query, scores)
        for i in range(start, end):
            low, high = low_of[i], high_of[i]
            if sees[i]:
                row = scores[i - start]
                seen = row[low:high]
                finish_row(row, numbers, head, i, low, high, holes, hidden)
                top, sink = highest(seen), ZERO
                if numbers.sinks.shape[0] > 0:
                    top = max(top, numbers.sinks[head])
                    sink = f32(2.0 ** np.float64(numbers.sinks[head] - top))
                total, _ = to_powers(seen, top)
                total += sink
                level[i] = top + f32(np.log2(np.float64(total)))
                if add:
                    _sum(seen, ONE / total, tall[low:high])
                else:
                    _largest(seen, ONE / total, tall[low:high])
            if (i + 1) % side == 0 or i + 1 == rows_stop:
                if add:
                    _pool_sum(tall, hidden, side, out[i // side])
                else:
                    _pool_largest(tall, hidden, side, out[i // side])
