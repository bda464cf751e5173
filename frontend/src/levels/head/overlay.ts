/** The heads that are drawn over each other, with their rows, as far as they are here. */

import { list } from "../../base/format";
import type { Source } from "../../data/source";
import { MOST } from "../../heads/palette";
import type { RowCache } from "../../heads/row-cache";
import { type Found, partsOf, rowCacheOf } from "../../heads/rows";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";

export interface Overlay {
  /** The state's own head first; a cache for each. */
  heads: number[];
  caches: RowCache[];
  /** Of every head that was asked for. */
  found: Found[];
  coming: Promise<unknown>[];
}

export const NOTHING: Overlay = { heads: [], caches: [], found: [], coming: [] };

export function overlay(source: Source, scene: Scene, actions: Actions): Overlay {
  const { state, site } = scene;
  if (scene.pair) return ofDifference(source, scene);
  const over = state.average === "none" ? state.heads.filter((head) => head !== state.head && head < site.heads) : [];
  const wanted = [state.head, ...over].slice(0, MOST);
  const found = wanted.map((head) => rowCacheOf(source, scene, head));
  const lost = wanted.filter((_, i) => !found[i].cache && !found[i].waiting.length);
  if (lost.length)
    actions.notice(`Head ${list(lost.map(String))} of this layer is not in this page, so it is not drawn.`);
  return {
    heads: wanted.filter((_, i) => found[i].cache),
    caches: found.flatMap(({ cache }) => cache ?? []),
    found,
    coming: found.flatMap(({ waiting }) => waiting),
  };
}

/** What grew from A to B, and what shrank. */
function ofDifference(source: Source, scene: Scene): Overlay {
  const found = rowCacheOf(source, scene, scene.state.head);
  const caches = partsOf(source, scene, found);
  return { heads: caches.map(() => scene.state.head), caches, found: [found], coming: found.waiting };
}
