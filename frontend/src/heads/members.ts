/** Which heads a picture is the mean of, and their tensors as they arrive. */

import type { State } from "../base/state";
import type { HeadTensors } from "../data/head-tensors";
import type { Metadata, Site } from "../data/metadata";
import type { Source } from "../data/source";
import type { Scene } from "../scene/scene";

export interface Member {
  site: Site;
  head: number;
}

/** The heads of this layer, this head of all layers, or all: of sites with the same tokens on both sides. */
export function membersOf(meta: Metadata, site: Site, head: number, average: State["average"]): Member[] {
  const alike = (one: Site) =>
    one.stack === site.stack &&
    one.kind === site.kind &&
    one.queries === site.queries &&
    one.keys === site.keys &&
    one.query_tokens === site.query_tokens &&
    one.key_tokens === site.key_tokens &&
    (one.query_offset ?? 0) === (site.query_offset ?? 0);
  const sites = average === "layers" || average === "all" ? meta.sites.filter(alike) : [site];
  return sites.flatMap((one) => {
    if (average === "none" || average === "layers") return head < one.heads ? [{ site: one, head }] : [];
    return Array.from({ length: one.heads }, (_, h) => ({ site: one, head: h }));
  });
}

/** "layer 2, head 8", or what the picture is the mean of. */
export function placeName({ site, head }: Member, average: State["average"]): string {
  const stack = site.stack ? `${site.stack} ` : "";
  if (average === "heads") return `the mean over all heads of ${stack}layer ${site.layer}`;
  if (average === "layers") return `the mean over head ${head} of all ${stack}layers`;
  if (average === "all") return `the mean over all heads of all ${stack}layers`;
  return `${stack}layer ${site.layer}, head ${head}`;
}

/** What stands over a picture on paper; a trace from anywhere may have no model's name. */
export function titleOf({ meta, site, state }: Scene): string {
  const where = placeName({ site, head: state.head }, state.average);
  return [meta.model.name, where].filter(Boolean).join(", ");
}

/** What is here at once, what is on its way, and what cannot be had. */
export interface Gathered {
  here: HeadTensors[];
  waiting: Promise<HeadTensors>[];
  missing: number;
}

export function gather(source: Source, members: Member[]): Gathered {
  const found: Gathered = { here: [], waiting: [], missing: 0 };
  for (const { site, head } of members) {
    if (!source.live && !source.holds(site.index, head)) {
      found.missing++;
      continue;
    }
    try {
      const tensors = source.head(site.index, head);
      if (tensors instanceof Promise) found.waiting.push(tensors);
      else found.here.push(tensors);
    } catch {
      found.missing++;
    }
  }
  return found;
}
