/** The statistics of every head as a plain table, on request, a page at a time. */
import { button, h } from "../../base/dom";
import { csvButton } from "../../heads/csv";
import { type Head, nameOf } from "./heads";
import type { Statistics } from "./statistics";

const PAGE = 50;

export class HeadDataTable {
  readonly element = h("section", { class: "figures", "aria-label": "data table", "data-figures": true });
  private page = 0;

  constructor(private readonly statistics: Statistics) {
    this.element.hidden = true;
  }

  draw(heads: Head[], order: string): void {
    if (this.element.hidden) return;
    const { statistics } = this;
    const anyRoles = statistics.any("role");
    const rolesOf = (head: Head) =>
      statistics
        .roles(head)
        .filter(({ kind }) => !kind)
        .map(({ name }) => name)
        .join("; ");
    const more = (i: number) => (anyRoles ? [rolesOf(heads[i])] : []);
    const pages = Math.ceil(heads.length / PAGE);
    this.page = Math.min(this.page, pages - 1);
    const from = this.page * PAGE;
    const shown = heads.slice(from, from + PAGE);
    const turn = (by: number, name: string, off: boolean) => {
      const element = button(name, { class: "quiet" }, () => {
        this.page += by;
        this.draw(heads, order);
        // the buttons are new: the keyboard stays where it was
        const buttons = [...this.element.querySelectorAll<HTMLButtonElement>("button:not(:disabled)")];
        (buttons.find((one) => one.textContent === name) ?? buttons[0])?.focus();
      });
      element.disabled = off;
      return element;
    };
    const rows = shown.map((head) =>
      h(
        "tr",
        { "data-table-head": nameOf(head) },
        h("th", { scope: "row" }, nameOf(head)),
        ...statistics.names.map((name) =>
          h("td", { "data-col": name, "data-value": statistics.value(head, name) }, statistics.said(head, name)),
        ),
        anyRoles && h("td", { "data-col": "roles" }, rolesOf(head)),
      ),
    );
    this.element.replaceChildren(
      h(
        "div",
        { class: "figures-top" },
        pages > 1 && turn(-1, "‹ earlier", this.page === 0),
        h("span", { class: "num" }, `heads ${from + 1}–${from + shown.length} of ${heads.length}`),
        pages > 1 && turn(1, "later ›", this.page === pages - 1),
        csvButton(() => ({
          caption: `Every head, ${order}`,
          columns: ["head", ...statistics.names.map((name) => statistics.full(name)), ...(anyRoles ? ["roles"] : [])],
          rows: heads.length,
          row: (i) => [
            nameOf(heads[i]),
            ...statistics.names.map((name) => statistics.said(heads[i], name)),
            ...more(i),
          ],
          values: (i) => [
            nameOf(heads[i]),
            ...statistics.names.map((name) => statistics.value(heads[i], name)),
            ...more(i),
          ],
        })),
      ),
      h(
        "div",
        { class: "figures-scroll", tabindex: 0 },
        h(
          "table",
          {},
          h("caption", {}, `Every head, ${order}`),
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", { scope: "col" }, "head"),
              ...statistics.names.map((name) => h("th", { scope: "col" }, statistics.full(name))),
              anyRoles && h("th", { scope: "col" }, "roles"),
            ),
          ),
          h("tbody", {}, ...rows),
        ),
      ),
      h(
        "dl",
        { class: "figures-words" },
        ...statistics.names.flatMap((name) => [
          h("dt", {}, statistics.full(name)),
          h("dd", {}, statistics.words(name)),
        ]),
      ),
    );
  }
}
