/** A run of tokens as the elements that a line of text is made of: words, and what stands between them. */

import { h } from "../../base/dom";
import { explained } from "../../base/explained";
import type { TokenTable } from "../../data/metadata";
import { joined, type Label } from "../../scene/labels";
import { directionOf, type Unit } from "./directions";
import { chanceOf } from "./said";

/** Tokens `from` … `to` - 1. `make`: the element of a token. */
export function unitsOf(
  labels: Label[],
  table: TokenTable,
  from: number,
  to: number,
  make: (label: Label) => HTMLElement,
): Unit[] {
  const segments = new Set(table.segments).size > 1;
  const units: Unit[] = [];
  const pictured = new Set(table.grids?.flatMap(({ tokens }) => tokens));
  const heard = table.sound?.positions ?? 0;
  const add = (element: HTMLElement, text = "") => units.push({ element, text });
  if (from > 0 && !heard) add(h("span", { class: "more" }, `… ${from} tokens before`));
  let word: HTMLElement | null = null;
  for (let i = from; i < to; i++) {
    const label = labels[i];
    if (heard > 0) {
      word = null;
      if (i === from && i < heard) add(h("span", { class: "more" }, "♪ sound, drawn above"));
      if (i === Math.max(from, heard))
        add(h("span", { class: "more" }, `${labels.length - heard} positions of silence`));
      continue;
    }
    if (pictured.has(i)) {
      word = null;
      if (!pictured.has(i - 1)) add(h("span", { class: "more" }, "▦ patches, in the picture"));
      continue;
    }
    const begins = i === from || labels[i - 1].word !== label.word || labels[i - 1].segment !== label.segment;
    if (segments && (i === 0 || labels[i - 1].segment !== label.segment))
      add(h("span", { class: "segment" }, "AB"[label.segment] ?? String(label.segment)));
    const turn = table.turns?.[i] ?? null;
    if (turn !== null && turn !== (i ? table.turns?.[i - 1] : null))
      add(h("span", { class: "segment", "data-turn": turn }, table.roles?.[turn] ?? ""));
    if (table.border === i) add(h("span", { class: "border", "data-border": true }, "generated ▸"));
    const element = make(label);
    const said = chanceOf(table, i);
    if (said) explained(element, said);
    const previous = begins ? undefined : labels[i - 1];
    if (word && previous && label.whole && joined(previous.text, label.text)) {
      word.lastElementChild?.classList.add("joins-on");
      element.classList.add("joins-back");
    }
    if (label.whole && (begins || !word)) {
      word = h("span", { class: "word", dir: directionOf(label.whole) ?? "ltr" });
      if (label.tight) word.classList.add("tight");
      if (!label.before && !label.after) word.classList.add("parts");
      add(word, label.whole);
    }
    if (label.whole && word) word.append(element);
    else {
      word = null;
      if (label.tight) element.classList.add("tight");
      add(element, label.special ? "" : label.text);
    }
  }
  if (to < labels.length && !heard) add(h("span", { class: "more" }, `${labels.length - to} tokens after …`));
  return units;
}
