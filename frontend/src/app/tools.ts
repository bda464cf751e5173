/** The controls beside the breadcrumb: sentence pair, special tokens, the level's own, theme. */
import { h } from "../dom";
import type { Metadata } from "../payload";
import { FILTERS, type Filter, type State, type Theme } from "../state";

export interface ToolsHost {
  filter(filter: Filter): void;
  theme(theme: Theme): void;
  dim(): void;
}

const PAIRS: Record<Filter, string> = { all: "all pairs", aa: "A → A", ab: "A → B", ba: "B → A", bb: "B → B" };

export class Tools {
  readonly element: HTMLElement;
  private readonly filter: HTMLSelectElement;
  private readonly theme: HTMLSelectElement;
  private readonly dim: HTMLInputElement;

  constructor(meta: Metadata, own: HTMLElement[], host: ToolsHost) {
    const option = (value: string, name: string) => h("option", { value }, name);
    this.filter = h(
      "select",
      { "aria-label": "sentence pair: query → key", "data-tool": "filter" },
      ...FILTERS.map((value) => option(value, PAIRS[value])),
    );
    this.filter.addEventListener("change", () => host.filter(this.filter.value as Filter));
    this.theme = h(
      "select",
      { "aria-label": "theme", "data-tool": "theme" },
      option("auto", "system theme"),
      option("light", "light"),
      option("dark", "dark"),
    );
    this.theme.addEventListener("change", () => host.theme(this.theme.value as Theme));
    this.dim = h("input", { type: "checkbox", "data-tool": "dim" });
    this.dim.addEventListener("change", () => host.dim());
    const pair = new Set(meta.tokens[0].segments).size > 1;
    const special = meta.tokens.some((table) => table.special.includes(true));
    this.element = h(
      "div",
      { class: "tools" },
      pair && h("span", { class: "menu" }, this.filter),
      special && h("label", { class: "tool check" }, this.dim, "dim special"),
      ...own,
      h("span", { class: "menu" }, this.theme),
    );
  }

  get dimSpecial(): boolean {
    return this.dim.checked;
  }

  show(state: State): void {
    this.filter.value = state.filter;
    this.theme.value = state.theme;
  }
}
