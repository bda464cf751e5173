/** A data table on request, a page at a time. */
import { button, h } from "../base/dom";
import { EdgeCue } from "../base/edge-cue";
import { csvButton, type Rows } from "./csv";

export type Content = Rows;

const ROWS = 50;
const COLUMNS = 24;

export class DataTable {
  readonly element = h("section", { class: "figures", "aria-label": "data table", "data-figures": true });
  private readonly scroller = h("div", {
    class: "figures-scroll",
    tabindex: 0,
    role: "region",
    "aria-label": "data table, scrolls",
  });
  private readonly cue = new EdgeCue(this.scroller);
  private content: (() => Content) | null = null;
  private row = 0;
  private column = 0;

  constructor() {
    this.element.hidden = true;
  }

  get open(): boolean {
    return !this.element.hidden;
  }

  toggle(): boolean {
    this.element.hidden = this.open;
    this.fill();
    if (this.open) this.element.scrollIntoView({ block: "start" });
    return this.open;
  }

  draw(content: () => Content): void {
    this.content = content;
    this.fill();
  }

  private fill(): void {
    if (!this.open || !this.content) return;
    const { caption, columns, rows, row } = this.content();
    this.row = Math.min(this.row, Math.max(0, Math.floor((rows - 1) / ROWS) * ROWS));
    const values = columns.length - 1;
    this.column = Math.min(this.column, Math.max(0, Math.floor((values - 1) / COLUMNS) * COLUMNS));
    const [from, to] = [this.row, Math.min(rows, this.row + ROWS)];
    const [left, right] = [this.column, Math.min(values, this.column + COLUMNS)];
    const body = h("tbody");
    for (let i = from; i < to; i++) {
      const [first, ...rest] = row(i);
      const cells = rest.slice(left, right).map((text) => h("td", {}, text));
      body.append(h("tr", {}, h("th", { scope: "row" }, first), ...cells));
    }
    const turn = (name: string, by: () => void, off: boolean) => {
      const one = button(name, { class: "quiet" }, () => {
        by();
        this.fill();
      });
      one.disabled = off;
      return one;
    };
    const names = [columns[0], ...columns.slice(left + 1, right + 1)];
    this.element.replaceChildren(
      h(
        "div",
        { class: "figures-top" },
        rows > ROWS && turn("‹ earlier", () => (this.row -= ROWS), from === 0),
        h("span", { class: "num" }, `rows ${from}–${Math.max(from, to - 1)} of ${rows}`),
        rows > ROWS && turn("later ›", () => (this.row += ROWS), to === rows),
        values > COLUMNS && turn("‹ columns", () => (this.column -= COLUMNS), left === 0),
        values > COLUMNS && h("span", { class: "num" }, `columns ${left}–${right - 1} of ${values}`),
        values > COLUMNS && turn("columns ›", () => (this.column += COLUMNS), right === values),
        csvButton(this.content),
      ),
      this.scroller,
    );
    this.scroller.replaceChildren(
      h(
        "table",
        {},
        h("caption", {}, caption),
        h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)))),
        body,
      ),
    );
    this.cue.look();
  }
}
