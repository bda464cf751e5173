/** The controls: those of every level (sentence pair, special tokens, words, theme, what can be taken away), and the level's own. */

import { h, setText } from "../../base/dom";
import { explained } from "../../base/explained";
import { list } from "../../base/format";
import { CHOICES, type Filter, type LevelName, type State, type Theme } from "../../base/state";
import type { Metadata } from "../../data/metadata";
import { isolated } from "../../scene/labels";
import type { Level } from "../../scene/level";
import type { Scene } from "../../scene/scene";

export interface ToolsHost {
  filter(filter: Filter): void;
  theme(theme: Theme): void;
  special(special: State["special"]): void;
  words(words: boolean): void;
  pooled(pooled: boolean): void;
}

const PAIRS: Record<Filter, string> = { all: "all pairs", aa: "A → A", ab: "A → B", ba: "B → A", bb: "B → B" };
/** Where special tokens can be left out, and words drawn as one; where they are drawn paler. */
const HIDES: ReadonlySet<LevelName> = new Set(["head", "matrix"]);
const DIMS: ReadonlySet<LevelName> = new Set(["neuron"]);

export class Tools {
  /** Beside the breadcrumb. */
  readonly page: HTMLElement;
  /** Beside the switch of levels. */
  readonly element: HTMLElement;
  private readonly own = h("div", { class: "tools", "data-own-tools": true });
  private readonly filter: HTMLSelectElement;
  private readonly theme: HTMLSelectElement;
  private readonly special = h("input", { type: "checkbox", "data-tool": "dim" });
  private readonly specialName = h("span");
  private readonly specialTool = explained(
    h("label", { class: "tool check" }, this.special, this.specialName),
    () => this.specialWords,
  );
  private specialWords = "";
  private readonly words = h("input", { type: "checkbox", "data-tool": "words" });
  private readonly wordsTool = h("label", { class: "tool check" }, this.words, "whole words");
  private readonly pooled = h("input", { type: "checkbox", "data-tool": "pooled" });
  private readonly pooledTool = h("label", { class: "tool check" }, this.pooled, "groups");
  private readonly hasPieces: boolean;
  private level: Level | null = null;

  constructor(meta: Metadata, host: ToolsHost, takeAway: HTMLElement[]) {
    const option = (value: string, name: string) => h("option", { value }, name);
    this.filter = h(
      "select",
      { "aria-label": "sentence pair: query → key", "data-tool": "filter" },
      ...CHOICES.filter.map((value) => option(value, PAIRS[value])),
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
    this.special.addEventListener("change", () => host.special(this.special.checked ? "hide" : "show"));
    this.words.addEventListener("change", () => host.words(this.words.checked));
    this.pooled.addEventListener("change", () => host.pooled(this.pooled.checked));
    const pair = new Set(meta.tokens[0].segments).size > 1;
    const sinks = meta.sites.some(({ sink_tokens }) => sink_tokens?.length);
    const special = sinks || meta.tokens.some((table) => table.special.includes(true));
    this.hasPieces = meta.tokens.some(({ words }) => words.some((word, i) => word !== null && word === words[i + 1]));
    this.page = h("div", { class: "tools page-tools" }, h("span", { class: "menu" }, this.theme), ...takeAway);
    this.element = h(
      "div",
      { class: "tools" },
      pair && h("span", { class: "menu" }, this.filter),
      special && this.specialTool,
      this.wordsTool,
      meta.tokens.some(({ groups }) => groups) && this.pooledTool,
      this.own,
    );
  }

  show({ state, aside, keyLabels }: Scene, level: Level): void {
    this.filter.value = state.filter;
    this.theme.value = state.theme;
    this.special.checked = state.special === "hide";
    this.words.checked = state.words;
    this.pooled.checked = state.pooled;
    const hides = HIDES.has(level.name);
    const sinks = aside.sinks
      .filter((key) => !keyLabels[key].special)
      .map((key) => `“${isolated(keyLabels[key].text)}”`);
    const special = keyLabels.some((label) => label.special);
    const what = list([...(special || !sinks.length ? ["special"] : []), ...sinks.slice(0, 2)]);
    const verb = hides ? (sinks.length ? "without" : "hide") : "dim";
    setText(this.specialName, `${verb} ${what}`);
    this.specialWords = sinks.length
      ? `Most heads give ${list(sinks)} much weight, whatever the query is. Without it the rest has a scale of its own.`
      : "Without them the rest has a scale of its own.";
    if (level === this.level) return;
    this.level = level;
    this.specialTool.hidden = !hides && !DIMS.has(level.name);
    this.wordsTool.hidden = !hides || !this.hasPieces;
    this.pooledTool.hidden = !hides;
    this.own.replaceChildren(...level.tools);
  }
}
