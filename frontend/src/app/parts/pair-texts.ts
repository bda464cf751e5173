/** Of a comparison: what A is and what B is, both texts below each other, with what differs marked. */

import { h } from "../../base/dom";
import type { Metadata, Places } from "../../data/metadata";
import { type Label, labels } from "../../scene/labels";

const MOST = 60; // tokens of a text that are shown, around the first difference
const BEFORE = 12;

/** What tells the two apart: the models, how they were run, or the texts. */
export function pairNames([a, b]: [Metadata, Metadata]): [string, string] {
  const name = ({ model }: Metadata) => model.name || model.class || "a model";
  for (const of of [
    name,
    (meta: Metadata) => `${name(meta)}, revision ${meta.model.revision ?? "unknown"}`,
    (meta: Metadata) => `${name(meta)} in ${meta.model.dtype}`,
    (meta: Metadata) => `${name(meta)}, ${meta.model.implementation}`,
  ])
    if (of(a) !== of(b)) return [of(a), of(b)];
  return sameText(a, b) ? ["the first trace", "the second trace"] : ["the first text", "the second text"];
}

const sameText = (a: Metadata, b: Metadata) =>
  a.tokens.length === b.tokens.length &&
  a.tokens.every((table, i) => table.text.join("\n") === b.tokens[i].text.join("\n"));

/** The texts stand there only if they differ. `places`: where the tokens of each table stand in A and in B. */
export function pairTexts(metas: [Metadata, Metadata], places: Places[]): HTMLElement {
  const names = pairNames(metas);
  const differs = places.findIndex((_, i) => changed(metas, places[i], i).some((side) => side.size > 0));
  const sides = differs < 0 ? null : changed(metas, places[differs], differs);
  const rows = metas.map((meta, side) =>
    h(
      "p",
      { class: "pair-text", "data-pair-text": "ab"[side], dir: "auto" },
      h("b", {}, "AB"[side]),
      h("span", { class: "pair-name" }, names[side]),
      ...(sides ? written(labels(meta.tokens[differs]), sides[side]) : []),
    ),
  );
  return h("div", { class: "pair-texts", "aria-label": "what is compared" }, ...rows);
}

/** Positions in A and in B of the tokens that have no equal on the other side. */
function changed(metas: [Metadata, Metadata], { a, b }: Places, table: number): [Set<number>, Set<number>] {
  const found: [Set<number>, Set<number>] = [new Set(), new Set()];
  const [texts, others] = metas.map((meta) => meta.tokens[table].text);
  for (let place = 0; place < a.length; place++) {
    const [i, j] = [a[place], b[place]];
    if (i !== null && j !== null && texts[i] === others[j]) continue;
    if (i !== null) found[0].add(i);
    if (j !== null) found[1].add(j);
  }
  return found;
}

function written(all: Label[], marked: Set<number>): (HTMLElement | string)[] {
  const first = Math.min(all.length, ...marked);
  const from = all.length <= MOST ? 0 : Math.max(0, Math.min(all.length - MOST, first - BEFORE));
  const to = Math.min(all.length, from + MOST);
  const parts: (HTMLElement | string)[] = from > 0 ? ["… "] : [];
  for (let i = from; i < to; i++) {
    const { text, whole, before, after, special, tight, word } = all[i];
    if (special || text === "␣") continue;
    const inParts = whole !== "" && before === "" && after === ""; // parts of characters: the word, once
    if (inParts && i > from && all[i - 1].word === word) continue;
    if (!tight && i > from) parts.push(" ");
    parts.push(marked.has(i) ? h("mark", {}, inParts ? whole : text) : inParts ? whole : text);
  }
  if (to < all.length) parts.push(" …");
  return parts;
}
