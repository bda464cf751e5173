/** Where a level of heads gets its rows: caches of the shown head, of those laid over it, and of means. */

import type { Source } from "../data/source";
import type { Scene } from "../scene/scene";
import type { Axes } from "./axes";
import { mergedRow, type Row, type SlotRow } from "./axis";
import { gather, membersOf } from "./members";
import { RowCache, shelved } from "./row-cache";

export interface Found {
  cache: RowCache | null;
  /** Heads of the picture that are not here, and how many it is of. */
  missing: number;
  total: number;
  /** Some are on their way. */
  waiting: Promise<unknown>[];
}

/** The cache of a head of this site, or the mean the state asks for. */
export function rowCacheOf(source: Source, scene: Scene, head: number): Found {
  const { site, state, tensors, meta } = scene;
  const { average } = state;
  if (average === "none" && head === state.head) {
    const cache = shelved(source, `${site.index}.${head}`, () => new RowCache([tensors]));
    return { cache, missing: 0, total: 1, waiting: [] };
  }
  const members = membersOf(meta, site, head, average);
  const { here, waiting, missing } = gather(source, members);
  const name = `${average} ${site.stack} ${members.length} ${average === "layers" || average === "all" ? "" : site.index}.${average === "heads" || average === "all" ? "" : head}`;
  const cache = here.length ? shelved(source, `${name} ${here.length}`, () => new RowCache(here, missing)) : null;
  return { cache, missing, total: members.length, waiting };
}

/** The rows of the tokens of one slot of the queries. */
export function rowsOf(cache: RowCache, axes: Axes, slot: number, exact = false): Row[] {
  const offset = cache.site.query_offset ?? 0;
  return axes.queries.slots[slot].tokens.map((token) =>
    exact ? cache.exact(token - offset) : cache.row(token - offset),
  );
}

export function slotRow(cache: RowCache, axes: Axes, slot: number, exact = false): SlotRow {
  const row = mergedRow(rowsOf(cache, axes, slot, exact), axes.keys);
  return cache.part === 0 ? row : { ...row, weights: row.weights.map((weight) => cache.shown(weight)) };
}

/** Of a difference: what grew and what shrank, as two pictures over each other. */
export function partsOf(source: Source, scene: Scene, found: Found): RowCache[] {
  const { cache } = found;
  if (!cache) return [];
  const { state, site } = scene;
  const name = `${site.index}.${state.head} ${state.average} ${cache.members.length}`;
  const one = (part: 1 | -1) =>
    shelved(source, `${name} ${part}`, () => new RowCache(cache.members, cache.missing, part));
  return [one(1), one(-1)];
}
