/** Groups of tokens: messages, documents, sentences. What a query gives to each, special and sink tokens aside. */

import type { TokenTable } from "../data/metadata";
import type { Scene } from "./scene";

export interface Group {
  index: number;
  name: string;
  kind: string;
  start: number;
  stop: number;
  parent: number | null;
}

export interface GroupRow extends Group {
  depth: number;
  /** Groups lie within it. */
  holds: boolean;
  /** Of its tokens that are not set aside: how many, their weight, their share of the output, and what an even spread would give. */
  tokens: number;
  weight: number;
  share: number;
  even: number;
}

const known = new WeakMap<TokenTable, Group[]>();

/** In the order of the text, each before those within it; none where the text is not divided. */
export function groupsIn(table: TokenTable): Group[] {
  let groups = known.get(table);
  if (!groups) {
    groups = (table.groups ?? []).map(([name, kind, start, stop, parent], index) => ({
      index,
      name,
      kind,
      start,
      stop,
      parent,
    }));
    known.set(table, groups);
  }
  return groups;
}

export const groupsOf = (scene: Scene): Group[] => groupsIn(scene.meta.tokens[scene.site.key_tokens]);

const rowsOf = new WeakMap<Scene, GroupRow[]>();

/** Every group with what the query of the scene gives to it. */
export function groupRows(scene: Scene): GroupRow[] {
  let rows = rowsOf.get(scene);
  if (rows) return rows;
  const groups = groupsOf(scene);
  if (!groups.length) return [];
  const { chain, aside, site } = scene;
  const count = site.keys;
  // sums of the first n keys: a group's is the difference of two
  const sums = (of: (key: number) => number) => {
    const out = new Float64Array(count + 1);
    for (let j = 0; j < count; j++) out[j + 1] = out[j] + (aside.keys[j] ? 0 : of(j));
    return out;
  };
  const weight = sums((j) => chain.weights[j]);
  const share = sums((j) => chain.share[j] ?? 0);
  const seen = sums((j) => (chain.allowed && !chain.allowed[j] ? 0 : 1));
  const tokens = sums(() => 1);
  rows = [];
  for (const group of groups) {
    const part = (of: Float64Array) => of[Math.min(group.stop, count)] - of[Math.min(group.start, count)];
    const parent = group.parent === null ? null : rows[group.parent];
    if (parent) parent.holds = true;
    rows.push({
      ...group,
      depth: parent ? parent.depth + 1 : 0,
      holds: false,
      tokens: part(tokens),
      weight: part(weight),
      share: part(share),
      even: (weight[count] * part(seen)) / Math.max(1, seen[count]),
    });
  }
  rowsOf.set(scene, rows);
  return rows;
}

/** Of each token the group that it is drawn with, -1: the outermost ones that do not hold the one that is opened. */
export function poolOf(groups: Group[], opened: number | null): Int32Array {
  const pool = new Int32Array(Math.max(0, ...groups.map(({ stop }) => stop))).fill(-1);
  const at = opened === null ? null : groups[opened];
  const holds = (a: Group, b: Group) => a.start <= b.start && b.stop <= a.stop;
  for (const group of groups)
    if (!(at && (holds(group, at) || holds(at, group))) && pool[group.start] < 0)
      pool.fill(group.index, group.start, group.stop);
  return pool;
}
