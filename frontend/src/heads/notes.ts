/** What a picture leaves out or puts together, said beneath it. */
import { h } from "../base/dom";
import { count, list, percentInWords } from "../base/format";
import { isolated } from "../scene/labels";
import type { Scene } from "../scene/scene";
import type { Axes } from "./axes";
import { hiddenMasses, type Row, type SlotRow } from "./axis";
import type { Found } from "./rows";

export interface Note {
  name: string;
  text: string;
  value?: number;
}

/** `rows`: of the tokens whose row is shown; `whose`: what that row is called. */
export function notesOf(scene: Scene, axes: Axes, found: Found, rows: Row[], row: SlotRow, whose = "this row"): Note[] {
  const { state, site, keyLabels } = scene;
  const notes: Note[] = [];
  if (row.empty) {
    const then =
      site.mask.empty_rows === "uniform" ? "this implementation spreads its weight evenly" : "its weights are zero";
    notes.push({ name: "empty", text: `No key allowed: this query may see no key at all, and ${then}.` });
  }
  if (axes.keys.hidden.length) {
    const masses = hiddenMasses(rows, axes.keys);
    const most = masses.filter(([, mass]) => mass >= 0.005).slice(0, 3);
    const who = most.map(([j, mass]) => `${percentInWords(mass)} of ${whose} goes to ${isolated(keyLabels[j].text)}`);
    const text = who.length
      ? `${list(who)}, hidden here.`
      : `Special tokens are hidden; they have ${percentInWords(row.hidden)} of ${whose}.`;
    notes.push({ name: "hidden", text, value: row.hidden });
  }
  if (state.filter !== "all")
    notes.push({
      name: "outside",
      text: `${percentInWords(row.outside)} of ${whose} lies outside the filter.`,
      value: row.outside,
    });
  if (row.sink > 0)
    notes.push({
      name: "sink",
      text: `${percentInWords(row.sink)} goes to the sink, a learned logit without a token.`,
      value: row.sink,
    });
  if (axes.merged)
    notes.push({
      name: "words",
      text: "Pieces of a word are drawn as one: weights are summed into it as keys and averaged out of it as queries.",
    });
  if (state.average !== "none") {
    const lost = found.missing ? `; ${found.missing} are not in this page` : "";
    const coming = found.waiting.length ? `; ${count(found.waiting.length, "head")} on the way` : "";
    notes.push({
      name: "average",
      text: `Mean over ${count(found.total - found.missing - found.waiting.length, "head")} of ${found.total}${lost}${coming}.`,
      value: found.total,
    });
  }
  if (site.query_offset)
    notes.push({ name: "offset", text: `Queries begin at token ${site.query_offset}: those before are keys only.` });
  return notes;
}

export class Notes {
  readonly element = h("ul", { class: "picture-notes", "data-picture-notes": true });

  draw(notes: Note[]): void {
    this.element.replaceChildren(
      ...notes.map(({ name, text, value }) => h("li", { "data-note": name, "data-value": value }, text)),
    );
    this.element.hidden = notes.length === 0;
  }
}
