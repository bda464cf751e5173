/** One number unfolded into the sum that made it: the largest terms first, the rest as one line. */

import { button, h } from "../../base/dom";
import { count, percent, precise } from "../../base/format";
import { subscripted } from "./formula";
import { largestFirst, type Sum, type Term, total } from "./sums";

const FIRST = 8;
const MORE = 40;

export class SumView {
  readonly element = h("div", { class: "unfolded" });
  private shown = FIRST;
  private name = "";
  private sum: Sum | null = null;
  private readonly body = h("tbody");
  private readonly head = h("tr");
  private readonly title = h("p", { class: "sum-formula" });
  private readonly more: HTMLButtonElement;
  private readonly table: HTMLTableElement;

  constructor(onClose: () => void) {
    this.more = button("", { class: "tool", "data-more": true }, () => {
      this.shown += MORE;
      this.fill();
    });
    this.table = h("table", { class: "sum-table" }, h("thead", {}, this.head), this.body);
    const close = button("×", { class: "quiet", "aria-label": "fold the sum", "data-fold-sum": true }, onClose);
    this.element.append(h("div", { class: "sum-top" }, this.title, close), this.table, this.more);
    this.element.hidden = true;
  }

  /** `name`: which number; another one starts with its largest terms again. */
  show(name: string, sum: Sum): void {
    if (name !== this.name) this.shown = FIRST;
    this.name = name;
    this.sum = sum;
    this.element.hidden = false;
    this.element.dataset.sum = name;
    this.fill();
  }

  hide(): void {
    this.element.hidden = true;
    this.name = "";
    delete this.element.dataset.sum;
  }

  private fill(): void {
    const { sum } = this;
    if (!sum) return;
    this.title.replaceChildren(...subscripted(sum.formula));
    const cell = (text: string, name = "") => h("td", { class: name || null }, text);
    const wide = sum.heads.length;
    this.head.replaceChildren(
      h("th", { scope: "col", class: "sum-head" }, "term"),
      ...sum.heads.map((text) => h("th", { scope: "col", class: "sum-head" }, ...subscripted(text))),
      h("th", { scope: "col", class: "sum-head" }, wide > 1 ? "product" : "value"),
      h("th", { scope: "col", class: "sum-head sum-bar-head" }, h("span", { class: "unseen" }, "size")),
    );
    const order = largestFirst(sum.terms);
    const first = order.slice(0, order.length <= this.shown + 2 ? order.length : this.shown);
    const rest = order.slice(first.length);
    const largest = Math.max(...order.slice(0, 1).map(({ value }) => Math.abs(value)), 0) || 1;
    const rows = first.map((term) => this.row(term, wide, largest));
    const line = (name: string, text: string, value: number, hook: string) =>
      h(
        "tr",
        { class: "sum-line" },
        h("th", { scope: "row", colspan: 1 + wide }, ...subscripted(name)),
        h("td", { class: "sum-value", [hook]: true, "data-value": String(value) }, text),
        cell(""),
      );
    if (rest.length) {
      const value = total(rest);
      rows.push(line(`${count(rest.length, "more term")} together`, precise(value), value, "data-rest"));
    }
    for (const { name, sign, value } of sum.after)
      rows.push(line(`${sign} ${name}`, precise(value), value, "data-after"));
    const text = sum.unit === "percent" ? `${precise(sum.total)} = ${percent(sum.total)}` : precise(sum.total);
    const last = line("=", text, sum.total, "data-total");
    last.classList.add("sum-total");
    this.body.replaceChildren(...rows, last);
    this.more.textContent = `show ${Math.min(MORE, rest.length)} more of ${rest.length}`;
    this.more.hidden = rest.length === 0;
  }

  private row(term: Term, wide: number, largest: number): HTMLElement {
    const bar = h("i", { class: `sum-bar ${term.value < 0 ? "negative" : ""}` });
    const part = Math.min(1, Math.abs(term.value) / largest) * 50;
    bar.style.width = `${part}%`;
    bar.style.left = `${term.value < 0 ? 50 - part : 50}%`;
    const factors = Array.from({ length: wide }, (_, i) => {
      const value = term.factors[i];
      return h("td", {}, value === undefined ? "" : precise(value));
    });
    return h(
      "tr",
      { "data-term": term.at },
      h("th", { scope: "row", class: term.token ? "tok" : null, dir: term.token ? "auto" : null }, term.name),
      ...factors,
      h("td", { class: "sum-value", "data-value": String(term.value) }, precise(term.value)),
      h("td", { class: "sum-bar-cell" }, bar),
    );
  }
}
