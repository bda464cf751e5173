/** The beginning of the column: the text, as far as its stream is held, and what each position predicts. */

import { button, h, setAttribute } from "../../base/dom";
import { EdgeCue } from "../../base/edge-cue";
import { percent } from "../../base/format";
import { Roving } from "../../base/roving";
import type { StreamTable } from "../../data/stream";
import { shown } from "../../heads/target-names";
import { inLine, type Label } from "../../scene/labels";
import { tokenElement } from "../../scene/token-element";

export interface PositionsHost {
  say(text: string): void;
  go(position: number): void;
}

export class Positions {
  readonly element: HTMLElement;
  private readonly list = h("div", { class: "stream-positions", role: "group", "aria-label": "positions" });
  private readonly buttons: HTMLButtonElement[];
  private readonly cue: EdgeCue;
  private readonly roving: Roving;

  constructor(table: StreamTable, labels: Label[], host: PositionsHost) {
    const { note } = table;
    this.buttons = note.positions.map((position, row) => {
      const one = button("", { class: "stream-position", "data-position": position }, () => host.go(position));
      const [target] = note.targets[row] ?? [];
      const chance = target ? table.probabilities(row)[0] : 0;
      // with the blanks that a reader of its name needs
      one.append(h("span", { class: "stream-at" }, String(position)), " ", tokenElement(labels[position]?.text ?? "?"));
      if (target)
        one.append(
          " ",
          h("span", { class: "stream-next" }, "→ ", tokenElement(shown(target.text)), ` ${percent(chance)}`),
        );
      const said = `${inLine(labels[position])} at ${position}${target ? `: predicts ${shown(target.text)} with ${percent(chance)}` : ""}`;
      for (const kind of ["pointerover", "focus"]) one.addEventListener(kind, () => host.say(said));
      return one;
    });
    this.list.append(...this.buttons);
    this.cue = new EdgeCue(this.list);
    this.roving = new Roving(this.list, () => this.buttons.map((one) => [one]));
    const all = note.positions.length === labels.length;
    this.element = h(
      "section",
      { class: "stream-begin", "data-positions": true, "data-all": all },
      h(
        "h3",
        { class: "stream-heading" },
        all ? "text" : `text, ${note.positions.length} of ${labels.length} positions`,
      ),
      this.list,
    );
  }

  /** `row`: the one whose column is shown; −1: none. */
  draw(row: number): void {
    this.buttons.forEach((one, i) => {
      setAttribute(one, "aria-current", i === row ? "true" : null);
    });
    if (row >= 0) this.roving.goTo(row);
    this.cue.look();
  }

  /** The chosen one stands in sight within the list. */
  reveal(row: number): void {
    const one = this.buttons[row];
    if (!one) return;
    const { list } = this;
    list.scrollTop = one.offsetTop - list.offsetTop - list.clientHeight / 2;
    list.scrollLeft = one.offsetLeft - list.offsetLeft - list.clientWidth / 2;
  }

  destroy(): void {
    this.cue.destroy();
  }
}
