/** Beside the lines: what a query looks at, in words, the strongest keys first. */

import { h, setText } from "../../base/dom";
import { count, fixed, percent, percentInWords } from "../../base/format";
import type { Axes } from "../../heads/axes";
import type { SlotRow } from "../../heads/axis";
import { around, LONG } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { tokenElement } from "../../scene/token-element";

const ROWS = 6;

export interface Read {
  /** Slot of the query, or the number of queries whose rows are one. */
  slot: number | null;
  queries: number;
  row: SlotRow;
  /** The row is that of the scene's query and head alone: its chain says more. */
  own: boolean;
}

export class Reading {
  readonly element = h("aside", { class: "reading", "aria-label": "the strongest keys of the query" });
  private readonly title = h("p", { class: "reading-title" });
  private readonly list = h("ol", { class: "reading-keys" });
  private readonly rest = h("p", { class: "reading-rest" });
  private readonly wrote = h("p", { class: "reading-wrote" });

  constructor(pin: (slot: number) => void) {
    this.element.append(this.title, this.list, this.rest, this.wrote);
    this.list.addEventListener("click", (event) => {
      const row = (event.target as Element).closest<HTMLElement>("[data-reading]");
      if (row) pin(Number(row.dataset.reading));
    });
  }

  draw({ slot, queries, row, own }: Read, scene: Scene, axes: Axes): void {
    const { weights } = row;
    this.title.replaceChildren(
      ...(slot === null
        ? [`${queries} queries look at`]
        : [tokenElement(axes.queries.slots[slot]?.text ?? "", "subject"), " looks at"]),
    );
    const order = Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b);
    const shown = order.filter((s) => weights[s] >= 0.0005).slice(0, ROWS);
    this.list.replaceChildren(
      ...shown.map((s) => {
        const { text, tokens, special } = axes.keys.slots[s];
        const aside = tokens.every((j) => scene.aside.keys[j]);
        const share = own && scene.tensors.v.length ? tokens.reduce((sum, j) => sum + scene.chain.share[j], 0) : null;
        const kind = aside ? h("span", { class: "what" }, special ? "special" : "sink") : null;
        const name = h("span", { class: "reading-name" }, tokenElement(text, special ? "special" : ""), kind);
        const itself = slot !== null && tokens.includes(axes.queries.slots[slot]?.tokens[0] ?? -1);
        if (itself && scene.site.kind === "self") name.append(h("span", { class: "what" }, "itself"));
        return h(
          "li",
          {},
          h(
            "button",
            { type: "button", "data-reading": s, "aria-pressed": String(s === axes.key) },
            name,
            h("b", { class: "num" }, percent(weights[s])),
            this.around(tokens, text, scene),
            h("span", { class: "what num" }, share === null ? "" : `${percent(share)} of the output`),
          ),
        );
      }),
    );
    const left = order.slice(shown.length).filter((s) => !row.masked[s]);
    const mass = left.reduce((sum, s) => sum + (weights[s] || 0), 0);
    setText(this.rest, left.length ? `${count(left.length, "more key")} with ${percentInWords(mass)} together` : "");
    this.rest.hidden = left.length === 0;
    const length = own ? scene.chain.write : null;
    this.wrote.hidden = length === null;
    if (length !== null) setText(this.wrote, `The head writes ‖write‖ ${fixed(length, 2)} for this query.`);
  }

  /** The place of a key in a long text, in its words. A group has its own. */
  private around(tokens: number[], text: string, { keyLabels }: Scene): HTMLElement | null {
    const [first, last] = [tokens[0], tokens[tokens.length - 1]];
    if (keyLabels.length < LONG || last - first > 9) return null;
    const [before, after] = around(keyLabels, first, last);
    return h("span", { class: "reading-around", dir: "auto" }, before, h("b", {}, text), after);
  }
}
