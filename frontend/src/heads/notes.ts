/** What a picture leaves out or puts together, in words beneath it. */
import { h } from "../base/dom";
import { count, list, percentInWords } from "../base/format";
import { isolated } from "../scene/labels";
import type { Scene } from "../scene/scene";
import { type NoteName, note } from "../scene/text";
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
  const made: Note[] = [];
  const add = (name: NoteName, parts: Record<string, string> = {}, value?: number) =>
    made.push({ name, text: note(name, parts), value });
  if (row.empty) {
    const rest = site.mask.empty_rows === "uniform" ? "empty_uniform" : "empty_zero";
    add("empty", { rest: note(rest) });
  }
  if (axes.keys.hidden.length) {
    const most = hiddenMasses(rows, axes.keys).filter(([, mass]) => mass >= 0.005);
    const tokens = most
      .slice(0, 3)
      .map(([j, mass]) =>
        note("hidden_token", { part: percentInWords(mass), whose, token: isolated(keyLabels[j].text) }),
      );
    const text = tokens.length
      ? note("hidden", { tokens: list(tokens) })
      : note("hidden_little", { part: percentInWords(row.hidden), whose });
    made.push({ name: "hidden", text, value: row.hidden });
  }
  if (state.filter !== "all") add("outside", { part: percentInWords(row.outside), whose }, row.outside);
  if (row.sink > 0) add("sink", { part: percentInWords(row.sink) }, row.sink);
  if (axes.merged) add(state.pooled ? "pooled" : "words");
  if (state.average !== "none") {
    const lost = found.missing ? `; ${found.missing} are not in this page` : "";
    const coming = found.waiting.length ? `; ${count(found.waiting.length, "head")} on the way` : "";
    const here = count(found.total - found.missing - found.waiting.length, "head");
    add("average", { heads: `${here} of ${found.total}${lost}${coming}` }, found.total);
  }
  if (site.query_offset) add("offset", { token: `${site.query_offset}` });
  return made;
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
