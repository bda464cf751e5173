/** What is looked at: the lines of some queries or of one key, and the numbers beside the tokens. Pure. */

import { nice, niceChange, nicePart } from "../../base/scale";
import type { State } from "../../base/state";
import type { Axes } from "../../heads/axes";
import { combined, type SlotRow } from "../../heads/axis";
import { completed } from "../../heads/head-sentence";
import type { RowCache } from "../../heads/row-cache";
import { slotRow } from "../../heads/rows";
import type { Beside, Side } from "./column";
import { choose, type Line, magnified } from "./geometry";
import type { Drawn } from "./lines";

const STRONG = 160; // lines that can be told apart

export interface Place {
  side: Side;
  slot: number;
}

export interface Highlight {
  lines: Drawn[];
  /** The queries whose lines they are, one row per head, and the key whose column is read; -1: none. */
  slots: number[];
  rows: SlotRow[];
  key: number;
  /** Weight of the first head's row (or rows) in lines that are not drawn, and how many these are. */
  undrawn: number;
  missing: number;
  /** Per head: what the queries give to each key, what the key gets from each query; null where nothing is looked at. */
  beside: Record<Side, Beside | null>;
}

/**
 * `over`: what is pointed at, else the `chosen` queries and the pinned key. `colours`: of several heads. `end`: of the scale of bars
 * that is used elsewhere for this row; null: as the numbers need it.
 */
export function highlightOf(
  caches: RowCache[],
  axes: Axes,
  state: State,
  chosen: number[],
  over: Place | null,
  colours: (string | null)[],
  end: number | null = null,
): Highlight {
  const slots = over?.side === "query" ? [over.slot] : chosen;
  const key = over?.side === "key" ? over.slot : axes.key;
  const focus: Highlight = {
    lines: [],
    slots,
    rows: [],
    key,
    undrawn: 0,
    missing: 0,
    beside: { query: null, key: null },
  };
  const draw = (lines: Line[], budget: number) => {
    const picked = choose(lines, state.threshold, budget);
    for (const line of picked.lines) focus.lines.push(drawn(line, axes));
    return picked;
  };
  caches.forEach((cache, head) => {
    const rows = slots.map((slot) => slotRow(cache, axes, slot, true));
    if (rows.length) focus.rows.push(combined(rows, state.combine));
    if (over?.side === "key") return;
    const lines = rows.flatMap((row, i) => {
      const times = cache.signed ? 1 : magnified(row.hidden);
      return Array.from(
        row.weights,
        (weight, to): Line => ({ query: slots[i], key: to, weight, size: weight * times, head }),
      );
    });
    const picked = draw(lines, Math.floor(STRONG / caches.length));
    if (head > 0) return;
    focus.missing = Math.max(0, lines.filter(({ weight }) => weight > 0).length - picked.lines.length);
    const part = state.combine === "mean" ? 1 / Math.max(1, rows.length) : 1;
    focus.undrawn = (picked.offered - picked.drawn) * part;
  });
  const signed = caches.some((cache) => cache.signed);
  const columns = key >= 0 ? caches.map((cache) => column(cache, axes, key)) : null;
  if (columns && over?.side === "key")
    columns.forEach((values, head) => {
      const lines = values.flatMap((weight, query): Line[] => {
        if (weight === null) return [];
        const times = caches[head].signed ? 1 : magnified(slotRow(caches[head], axes, query).hidden);
        return [{ query, key, weight, size: weight * times, head }];
      });
      draw(lines, STRONG);
    });
  if (focus.rows.length)
    focus.beside.key = {
      values: focus.rows.map(({ weights }) => Array.from(weights)),
      colours,
      end:
        end ??
        endOf(
          focus.rows.map(({ weights }) => weights),
          signed,
        ),
      masked: focus.rows[0].masked,
      signed,
    };
  if (columns)
    focus.beside.query = {
      values: columns,
      colours,
      end: endOf(columns, signed),
      masked: maskOf(caches[0], axes, key, columns[0]),
      signed,
    };
  return focus;
}

/** Both are the lines of one query, and not of the same. */
export function isNextQuery(before: Highlight, after: Highlight): boolean {
  const [from, to] = [before, after].map(({ slots, lines }) =>
    slots.length === 1 && lines.every(({ query }) => query === slots[0]) ? slots[0] : null,
  );
  return from !== null && to !== null && from !== to;
}

/** Of bars: a sum of several rows may be more than 1. */
function endOf(rows: ArrayLike<number | null>[], signed: boolean): number {
  const largest = most(rows);
  return signed ? niceChange(largest) : largest > 1 + 1e-6 ? nice(largest) : nicePart(largest);
}

function most(rows: ArrayLike<number | null>[]): number {
  let largest = 0;
  for (const row of rows) for (let i = 0; i < row.length; i++) largest = Math.max(largest, Math.abs(row[i] || 0));
  return largest;
}

function drawn(line: Line, { queries, keys }: Axes): Drawn {
  return {
    ...line,
    queryToken: queries.slots[line.query].tokens[0],
    keyToken: keys.slots[line.key].tokens[0],
    value: line.weight,
  };
}

/** A query that one of two texts lacks: there is no difference to tell. */
const lacking = (cache: RowCache, row: number) => cache.signed && cache.row(row).allowed?.includes(1) === false;

/** What every query gives to one key; null where its row is still to be computed, or there is none. */
function column(cache: RowCache, { queries, keys }: Axes, key: number): (number | null)[] {
  const offset = cache.site.query_offset ?? 0;
  const small = completed(cache);
  const { tokens } = keys.slots[key];
  return queries.slots.map((slot) => {
    let sum = 0;
    for (const token of slot.tokens) {
      if (!small && !cache.knows(token - offset)) return null;
      if (lacking(cache, token - offset)) return null;
      const { weights } = cache.row(token - offset);
      for (const j of tokens) sum += weights[j];
    }
    return cache.shown(sum / slot.tokens.length);
  });
}

/** 1 = no piece of the query may see any piece of the key; of the rows that are known. */
function maskOf(cache: RowCache, { queries, keys }: Axes, key: number, known: (number | null)[]): Uint8Array {
  const offset = cache.site.query_offset ?? 0;
  const { tokens } = keys.slots[key];
  const unseen = (token: number) => {
    const { allowed } = cache.row(token - offset);
    return allowed !== null && tokens.every((j) => !allowed[j]);
  };
  return Uint8Array.from(queries.slots, (slot, s) => (known[s] !== null && slot.tokens.every(unseen) ? 1 : 0));
}
