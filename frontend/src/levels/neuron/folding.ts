/** Which lines the table has: keys, folded runs of keys that hardly matter, the sink. */

import type { Chain } from "../../chain/chain";
import { isMasked, ordered } from "../../chain/chain";
import type { GroupRow } from "../../scene/groups";

export type Line =
  | { kind: "key"; key: number }
  | { kind: "fold"; id: number; keys: number[]; weight: number; masked: number; open: boolean; group?: GroupRow }
  | { kind: "sink" };

export interface Folding {
  /** Keys that pass the filter, in text order. */
  keys: number[];
  /** Never folded: the query itself, the pinned key. */
  keep: ReadonlySet<number>;
  /** Groups of the text, in its order: a heading each. */
  groups?: GroupRow[];
  /** Runs that were opened, by their first key; groups by −1 − their number. */
  opened: ReadonlySet<number>;
  expanded: boolean;
  byWeight: boolean;
}

export const FOLD_BEYOND = 40;
export const FOLD_BELOW = 0.01;

export function lines(chain: Chain, options: Folding): Line[] {
  const { keys, keep, opened, expanded, byWeight, groups = [] } = options;
  const order = ordered(chain, keys, byWeight);
  const out: Line[] = [];
  const folding = keys.length > FOLD_BEYOND && !expanded;
  let run: number[] = [];
  const fold = (id: number, keys: number[], weight: number, group?: GroupRow): boolean => {
    const masked = keys.filter((key) => isMasked(chain, key)).length;
    const open = opened.has(id);
    out.push({ kind: "fold", id, keys, weight, masked, open, group });
    return open;
  };
  const close = () => {
    // a run of one would hide a line behind a line
    if (run.length > 1) {
      const weight = run.reduce((total, key) => total + chain.weights[key], 0);
      if (fold(run[0], run, weight)) for (const key of run) out.push({ kind: "key", key });
    } else for (const key of run) out.push({ kind: "key", key });
    run = [];
  };
  let next = folding && !byWeight ? 0 : groups.length;
  let shut = 0; // keys before it lie in a group that is shut
  for (const [at, key] of order.entries()) {
    while (next < groups.length && groups[next].start <= key) {
      const group = groups[next++];
      const { kind, start, stop, weight } = group;
      if (kind === "other" || start < shut || key >= stop) continue;
      close();
      let end = at;
      while (order[end] < stop) end++;
      if (!fold(-1 - group.index, order.slice(at, end), weight, group)) shut = stop;
    }
    if (key < shut && chain.weights[key] < FOLD_BELOW && !keep.has(key)) continue;
    if (folding && chain.weights[key] < FOLD_BELOW && !keep.has(key)) run.push(key);
    else {
      close();
      out.push({ kind: "key", key });
    }
  }
  close();
  if (chain.hasSink) out.push({ kind: "sink" });
  return out;
}
