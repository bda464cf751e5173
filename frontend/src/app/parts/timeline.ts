/** The tokens that the model wrote, one after another: the query that wrote each, and how probable it was. */

import { button, h, setAttribute, setText } from "../../base/dom";
import type { TokenTable } from "../../data/metadata";
import { isolated, type Label } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { queryRange } from "../validate-state";
import { chanceOf } from "./said";

const SVG = "http://www.w3.org/2000/svg";
const LEAST = 0.04; // of the height: an improbable token is still a bar

export class Timeline {
  readonly element: HTMLElement;
  private readonly bars = document.createElementNS(SVG, "svg");
  private readonly at = h("i", { class: "timeline-at" });
  private readonly track: HTMLElement;
  private readonly words = h("p", { class: "timeline-said" });
  private table: TokenTable | null = null;
  /** The first token that was written, how many there are, and which of them the query wrote; −1: none. */
  private first = 0;
  private count = 0;
  private current = -1;
  private query = 0;

  constructor(private readonly pick: (query: number) => void) {
    const attributes = { class: "timeline-track", role: "slider", tabindex: 0, "aria-valuemin": 1 };
    this.track = h("div", { ...attributes, "aria-label": "the tokens that the model wrote" }, this.at);
    this.track.prepend(this.bars);
    this.bars.setAttribute("preserveAspectRatio", "none");
    this.track.addEventListener("click", ({ clientX }) => {
      const { left, width } = this.track.getBoundingClientRect();
      this.go(Math.floor(((clientX - left) / width) * this.count));
    });
    this.track.addEventListener("keydown", (event) => {
      const { current, count } = this;
      const to = { ArrowRight: current + 1, ArrowUp: current + 1, ArrowLeft: current - 1, ArrowDown: current - 1 };
      const next = { ...to, Home: 0, End: count - 1 }[event.key];
      if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      this.go(next);
    });
    const step = (text: string, name: string, by: 1 | -1) =>
      button(text, { class: "quiet", "aria-label": name, title: name }, () => this.step(by));
    this.element = h(
      "div",
      { class: "timeline", role: "group", "aria-label": "answer, token by token", "data-timeline": true },
      step("‹", "the token written before (,)", -1),
      this.track,
      step("›", "the token written next (.)", 1),
      this.words,
    );
  }

  /** To the query that wrote the token before or after; false where nothing was written. */
  step(by: 1 | -1): boolean {
    if (this.element.hidden) return false;
    const beyond = this.query >= this.first ? this.count - 1 : 0; // from a query that wrote none of them: the nearest
    this.go(this.current < 0 ? beyond : this.current + by);
    return true;
  }

  private go(to: number): void {
    const step = Math.max(0, Math.min(this.count - 1, to));
    if (step !== this.current) this.pick(this.first + step - 1);
  }

  draw({ meta, site, query, queryLabels, pair }: Scene): void {
    const table = meta.tokens[site.query_tokens];
    const [from, last] = queryRange(site);
    this.first = Math.max(table.border ?? 0, from + 1);
    this.count = Math.min(queryLabels.length, last + 2) - this.first;
    this.query = query;
    this.element.hidden = table.border === null || pair !== null || this.count < 1;
    if (this.element.hidden) return;
    const { first, count } = this;
    this.current = query + 1 >= first && query + 1 < first + count ? query + 1 - first : -1;
    if (this.table !== table) this.draft(table);
    this.table = table;
    this.at.hidden = this.current < 0;
    this.at.style.left = `${(100 * this.current) / count}%`;
    this.at.style.width = `${100 / count}%`;
    const text =
      this.current < 0
        ? `The model wrote ${count} of these tokens: , and . step through them.`
        : this.said(queryLabels);
    setText(this.words, text);
    setAttribute(this.track, "aria-valuemax", String(count));
    setAttribute(this.track, "aria-valuenow", String(this.current + 1));
    setAttribute(this.track, "aria-valuetext", text);
  }

  private said(labels: Label[]): string {
    const token = this.first + this.current;
    const name = (index: number) => `“${isolated(labels[index].text)}” at ${index}`;
    const chance = chanceOf(this.table as TokenTable, token);
    return `${this.current + 1} of ${this.count} · query ${name(token - 1)} wrote ${name(token)}. ${chance}`.trim();
  }

  /** A bar for each token, as high as its probability. */
  private draft({ probability }: TokenTable): void {
    const { bars, count, first } = this;
    bars.setAttribute("viewBox", `0 0 ${count} 1`);
    this.track.style.maxWidth = `${12 * count}px`;
    const part = count > 200 ? 1 : 0.8;
    const path = document.createElementNS(SVG, "path");
    const bar = (i: number) => `M${i} 1V${1 - Math.max(LEAST, probability?.[first + i] ?? 0)}h${part}V1z`;
    path.setAttribute("d", Array.from({ length: count }, (_, i) => bar(i)).join(""));
    bars.replaceChildren(path);
  }
}
