/** The two axes of a site, as the state asks for them; kept while nothing about them changes. */

import { type Group, groupsIn, poolOf } from "../scene/groups";
import type { Scene } from "../scene/scene";
import { type Axis, axisOf } from "./axis";

export interface Axes {
  queries: Axis;
  keys: Axis;
  /** Changes whenever an axis does. */
  name: string;
  /** Slot of the query token, and of the pinned key; -1 where it is not drawn. */
  query: number;
  key: number;
  /** A word of several pieces on either side. */
  merged: boolean;
}

const SEGMENT = { a: 0, b: 1 } as const;

export class AxesOf {
  private name = "";
  private labels: unknown[] = [];
  private known: { queries: Axis; keys: Axis } | null = null;

  of(scene: Scene): Axes {
    const { site, state, query, queryLabels, keyLabels, aside } = scene;
    const offset = site.query_offset ?? 0;
    const hideSpecial = state.special === "hide";
    const part = (at: 0 | 1) => (state.filter === "all" ? null : SEGMENT[state.filter[at] as "a" | "b"]);
    // the selected query is drawn whatever it is
    const elsewhere = part(0) !== null && queryLabels[query].segment !== part(0);
    const own = site.kind === "self" ? aside.sinks : [];
    const hidden = hideSpecial && (queryLabels[query].special || own.includes(query));
    const [asking, looked] = [site.query_tokens, site.key_tokens].map((table) => groupsIn(scene.meta.tokens[table]));
    const pooled = state.pooled && looked.length > 0;
    const keepQuery = elsewhere || hidden || pooled ? query : null;
    const name = `${site.query_tokens} ${site.key_tokens} ${offset} ${site.queries} ${site.keys} ${state.words} ${state.special} ${state.filter} ${keepQuery} ${aside.sinks} ${pooled} ${pooled && state.group}`;
    if (!this.known || name !== this.name || this.labels[0] !== queryLabels || this.labels[1] !== keyLabels) {
      const options = { words: state.words, hideSpecial };
      const pool = (groups: Group[]) => ({
        groups,
        pool: pooled ? poolOf(groups, groups === looked ? state.group : null) : null,
      });
      this.known = {
        queries: axisOf(queryLabels, offset, offset + site.queries, {
          ...options,
          ...pool(asking),
          sinks: own,
          segment: part(0),
          keep: keepQuery,
        }),
        keys: axisOf(keyLabels, 0, site.keys, { ...options, ...pool(looked), sinks: aside.sinks, segment: part(1) }),
      };
      this.name = name;
      this.labels = [queryLabels, keyLabels];
    }
    const { queries, keys } = this.known;
    return {
      queries,
      keys,
      name,
      query: queries.of[query],
      key: scene.pinned ? keys.of[scene.key] : -1,
      merged: queries.merged || keys.merged,
    };
  }
}
