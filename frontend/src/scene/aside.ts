/** Special tokens and sink tokens: set aside when the strongest key is looked for, and left out on request. */

import type { Metadata, Site } from "../data/metadata";
import type { Label } from "./labels";

export interface Aside {
  /** Positions of sink tokens among the keys, those that are special too. */
  sinks: readonly number[];
  /** 1 at every key that is special or a sink token. */
  keys: Uint8Array;
  any: boolean;
}

const known = new WeakMap<Label[], Map<number, Aside>>();

/** Of one site; `labels` are those of its keys. Sink tokens stand in the first data of a page, for every site. */
export function asideOf(meta: Metadata, site: Site, labels: Label[]): Aside {
  const sites = known.get(labels) ?? new Map<number, Aside>();
  known.set(labels, sites);
  let aside = sites.get(site.index);
  if (!aside) {
    const described = meta.sites.find(({ index }) => index === site.index);
    const sinks = (described?.sink_tokens ?? []).filter((key) => Number.isInteger(key) && key >= 0 && key < site.keys);
    const keys = Uint8Array.from({ length: site.keys }, (_, j) => Number(labels[j].special || sinks.includes(j)));
    aside = { sinks, keys, any: keys.includes(1) };
    sites.set(site.index, aside);
  }
  return aside;
}

/** The strongest key that is not set aside; the strongest of all where those have no weight. */
export function leading(sizes: ArrayLike<number>, aside: Uint8Array, among?: number[]): number {
  let first = -1;
  let best = -1;
  const keys = among?.length ? among : Array.from(sizes, (_, j) => j);
  for (const j of keys) {
    if (first < 0 || sizes[j] > sizes[first]) first = j;
    if (!aside[j] && sizes[j] > 0 && (best < 0 || sizes[j] > sizes[best])) best = j;
  }
  return Math.max(0, best >= 0 ? best : first);
}
