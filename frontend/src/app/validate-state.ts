/** A state against a trace: which site it means, whether it exists, and what to say where it does not. */

import { ranges } from "../base/format";
import { type HeadEdit, parseEdit } from "../base/head-edit";
import type { Filter, LevelName, State } from "../base/state";
import type { Metadata, Site } from "../data/metadata";
import type { Source } from "../data/source";
import type { Label } from "../scene/labels";

export function siteOf(meta: Metadata, state: Pick<State, "stack" | "layer">): Site {
  return meta.sites.find((site) => site.stack === state.stack && site.layer === state.layer) ?? meta.sites[0];
}

export function siteName(site: Site, meta: Metadata): string {
  const twins = meta.sites.filter((other) => other.stack === site.stack && other.layer === site.layer).length > 1;
  return `${site.stack ? `${site.stack} ` : ""}${site.layer}${twins ? ` (call ${site.call})` : ""}`;
}

/** Any of its heads can be had without asking. */
export function held(source: Source, site: Site): boolean {
  return firstHeld(source, site) !== null;
}

export function firstHeld(source: Source, site: Site): number | null {
  for (let head = 0; head < site.heads; head++) if (source.holds(site.index, head)) return head;
  return null;
}

/** First and last position of a query; after a cache the first is not 0. */
export function queryRange(site: Site): [number, number] {
  const offset = site.query_offset ?? 0;
  return [offset, offset + site.queries - 1];
}

/** The nearest state that exists, and why it is not the one that was asked for. `before` is what stays where it can. */
export function fitted(meta: Metadata, wanted: State, before: State, problems: string[]): State {
  const { sites } = meta;
  const state = { ...wanted };
  const stacks = [...new Set(sites.map((site) => site.stack))];
  if (!stacks.includes(state.stack)) {
    const there = stacks[0] === null ? "" : `; there is ${stacks.join(", ")}`;
    if (state.stack !== null) problems.push(`There is no stack “${state.stack.slice(0, 40)}” here${there}.`);
    state.stack = stacks.includes(before.stack) ? before.stack : stacks[0];
  }
  const layers = sites.filter((site) => site.stack === state.stack).map((site) => site.layer);
  if (!layers.includes(state.layer)) {
    const kept = layers.includes(before.layer) ? before.layer : layers[0];
    problems.push(`Layer ${state.layer} does not exist: layers are ${ranges(layers)}. Showing layer ${kept}.`);
    state.layer = kept;
  }
  const site = siteOf(meta, state);
  if (state.head >= site.heads) {
    const kept = before.head < site.heads ? before.head : 0;
    problems.push(`Head ${state.head} does not exist: heads are 0–${site.heads - 1}. Showing head ${kept}.`);
    state.head = kept;
  }
  const [first, last] = queryRange(site);
  if (state.query < first || state.query > last) {
    // another layer may see fewer tokens: no fault of the reader's
    if (state.query !== before.query)
      problems.push(`Query ${state.query} does not exist: queries are ${first}–${last}.`);
    state.query = before.query >= first && before.query <= last ? before.query : first;
  }
  if (state.key !== null && state.key >= site.keys) {
    if (state.key !== before.key) problems.push(`Key ${state.key} does not exist: keys are 0–${site.keys - 1}.`);
    state.key = null;
  }
  state.heads = only(state.heads, (head) => head < site.heads && head !== state.head);
  state.queries = only(state.queries, (query) => query >= first && query <= last && query !== state.query);
  state.edits = fittingEdits(meta, state.edits, problems);
  if (state.dim !== null && state.dim >= Math.max(site.head_size, site.value_size)) state.dim = null;
  if (state.group !== null && state.group >= (meta.tokens[site.key_tokens].groups?.length ?? 0)) state.group = null;
  if (state.pooled && !meta.tokens.some(({ groups }) => groups)) state.pooled = false;
  if (state.filter !== "all" && new Set(meta.tokens[0].segments).size < 2) state.filter = "all";
  return state;
}

/** Those of heads and tokens that are here. */
function fittingEdits(meta: Metadata, edits: string[], problems: string[]): string[] {
  const kept = only(edits, (text) => {
    const { layer, stack, heads, query, key } = parseEdit(text) as HeadEdit;
    const site = meta.sites.find((one) => one.layer === layer && (stack ?? one.stack) === one.stack);
    if (!site || (query ?? 0) > queryRange(site)[1] || (key ?? 0) >= site.keys) return false;
    return heads.every((i) => i < site.heads);
  });
  const gone = edits.filter((text) => !kept.includes(text));
  if (gone.length) problems.push(`Nothing here to edit by ${gone.join(", ")}: no such layer, head or token.`);
  return kept;
}

/** The same array where nothing is left out. */
function only<T>(several: T[], keep: (one: T) => boolean): T[] {
  return several.every(keep) ? several : several.filter(keep);
}

/** A page may open on a layer or a head that it does not hold: what it does hold, and why. */
export function nearestHeld(source: Source, state: State, problems: string[]): State {
  const site = siteOf(source.meta, state);
  if (source.holds(site.index, state.head) || source.pictured?.(site.index, state.head)) return state;
  const other = held(source, site) ? site : source.meta.sites.find((one) => held(source, one));
  if (!other) return state;
  problems.push(absent(source, site, state.head));
  const head = source.holds(other.index, state.head) ? state.head : (firstHeld(source, other) ?? 0);
  return fitted(source.meta, { ...state, stack: other.stack, layer: other.layer, head }, state, problems);
}

/** Levels that need the numbers of a head, and not a picture alone. */
const NUMBERS: LevelName[] = ["head", "neuron", "steps"];

/** A head of which there is a picture alone is shown at the level that draws it; the others say how to get the rest. */
export function pictured(source: Source, state: State, problems: string[]): State {
  const site = siteOf(source.meta, state);
  const mean = state.level === "head" && state.average !== "none"; // of the heads that are here
  if (mean || !NUMBERS.includes(state.level) || !source.pictured?.(site.index, state.head)) return state;
  problems.push(`${absent(source, site, state.head)} The grid shows its coarse picture.`);
  return { ...state, level: "matrix" };
}

/** What to say where a layer is not in this page, and how to get it. */
export function absent(source: Source, site: Site, head: number): string {
  const { meta } = source;
  const damage = source.damage?.(site.index);
  if (damage) return `Layer ${siteName(site, meta)} cannot be shown. ${damage}`;
  const here = meta.sites.filter((one) => held(source, one));
  const names = [...new Set(here.map((one) => one.stack))].map((stack) => {
    const layers = here.filter((one) => one.stack === stack).map((one) => one.layer);
    return `${stack ? `${stack} ` : ""}${ranges(layers)}`;
  });
  const stack = site.stack ? `, stack="${site.stack}"` : "";
  if (held(source, site)) {
    const heads = Array.from({ length: site.heads }, (_, i) => i).filter((i) => source.holds(site.index, i));
    return `Head ${head} of layer ${siteName(site, meta)} is not in this page, which holds ${heads.length === 1 ? "head" : "heads"} ${ranges(heads)} of it. To see it, open the view there: trace.show(layer=${site.layer}, head=${head}${stack}); a larger max_mb holds more.`;
  }
  return `Layer ${siteName(site, meta)} is not in this page, which holds ${here.length === 1 ? "layer" : "layers"} ${names.join("; ")}. To see it, open the view there: trace.show(layer=${site.layer}${stack}), or attnscope show … --layer ${site.layer}; a larger max_mb holds more layers.`;
}

/** What else changes with the filter: a query and a pinned key that it leaves out. */
export function filtered(filter: Filter, state: State, queries: Label[], keys: Label[]): Partial<State> {
  const change: Partial<State> = { filter };
  if (filter === "all") return change;
  const letter = (label: Label) => "ab"[label.segment];
  if (letter(queries[state.query]) !== filter[0]) {
    const wanted = queries.find((label) => letter(label) === filter[0] && !label.special);
    if (wanted) change.query = wanted.index;
  }
  if (state.key !== null && letter(keys[state.key]) !== filter[1]) change.key = null;
  return change;
}
