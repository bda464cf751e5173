/** Which lines the table has: keys, folded runs of keys that hardly matter, the sink. */

import type { Chain } from "../../chain/chain";
import { isMasked, ordered } from "../../chain/chain";

export type Line =
  | { kind: "key"; key: number }
  | { kind: "fold"; keys: number[]; weight: number; masked: number; open: boolean }
  | { kind: "sink" };

export interface Folding {
  /** Keys that pass the filter, in text order. */
  keys: number[];
  /** Never folded: the query itself, the pinned key. */
  keep: ReadonlySet<number>;
  /** Runs that were opened, by their first key. */
  opened: ReadonlySet<number>;
  expanded: boolean;
  byWeight: boolean;
}

export const FOLD_BEYOND = 40;
export const FOLD_BELOW = 0.01;

export function lines(chain: Chain, { keys, keep, opened, expanded, byWeight }: Folding): Line[] {
  const order = ordered(chain, keys, byWeight);
  const out: Line[] = [];
  const folding = keys.length > FOLD_BEYOND && !expanded;
  let run: number[] = [];
  const close = () => {
    // a run of one would hide a line behind a line
    if (run.length > 1) {
      const weight = run.reduce((total, key) => total + chain.weights[key], 0);
      const open = opened.has(run[0]);
      out.push({ kind: "fold", keys: run, weight, masked: run.filter((key) => isMasked(chain, key)).length, open });
      if (open) for (const key of run) out.push({ kind: "key", key });
    } else for (const key of run) out.push({ kind: "key", key });
    run = [];
  };
  for (const key of order) {
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
