/** The groups of a text as an outline that folds: what the query gives to each, and each group's share of the output. */

import { h, setAttribute, setChildren, setText } from "../../base/dom";
import { count, percent } from "../../base/format";
import { Roving } from "../../base/roving";
import { type GroupRow, groupRows } from "../../scene/groups";
import { type Label, LONG } from "../../scene/labels";
import type { Scene } from "../../scene/scene";

const WORDS = 24; // tokens that a group is shown by

export interface OutlineHost {
  group(index: number | null): void;
  say(text: string): void;
}

/** A group in a line of plain text. */
const said = ({ name, tokens, weight, even }: GroupRow) =>
  `${name} · ${count(tokens, "token")} · weight ${percent(weight)}, ${(weight / (even || 1)).toFixed(1)} × an even spread`;

export class Outline {
  readonly element = h("div", { class: "outline", role: "tree", "aria-label": "groups of the text" });
  private readonly rest = h("div", { class: "outline-rest", role: "presentation" });
  private readonly head = h(
    "div",
    { class: "outline-head", role: "presentation" },
    ...["group", "weight", "share"].map((text) => h("span", {}, text)),
  );
  private readonly lines = new Map<number, HTMLElement>();
  private readonly opened = new Set<number>();
  private readonly roving: Roving;
  private rows: GroupRow[] = [];
  private labels: Label[] | null = null;
  private query = -1;
  private looked: number | null = null;
  private wanted: HTMLElement | null = null;

  constructor(host: OutlineHost) {
    this.element.hidden = true;
    const rowAt = (event: Event) => {
      const line = (event.target as Element).closest<HTMLElement>("[data-group]");
      return line && this.rows[Number(line.dataset.group)];
    };
    this.roving = new Roving(this.element, () =>
      [...this.element.querySelectorAll<HTMLElement>("[data-group]")].map((line) => [line]),
    );
    this.element.addEventListener("click", (event) => {
      const row = rowAt(event);
      if (!row) return;
      const open = row.index !== this.looked;
      this.opened[open ? "add" : "delete"](row.index);
      host.group(open ? row.index : null);
    });
    for (const kind of ["pointerover", "focusin"])
      this.element.addEventListener(kind, (event) => {
        const row = rowAt(event);
        if (row) host.say(said(row));
      });
  }

  draw(scene: Scene): void {
    const { keyLabels, state, weightEnd, aside, chain } = scene;
    if (keyLabels !== this.labels) {
      this.labels = keyLabels;
      this.lines.clear();
      this.opened.clear();
      this.query = -1;
    }
    const rows = groupRows(scene);
    const fresh = this.query < 0;
    this.rows = rows;
    this.looked = state.group;
    const named = rows.filter(({ kind }) => kind !== "other");
    this.element.hidden = named.length < 2 || (keyLabels.length < LONG && !named.some(({ kind }) => kind === "own"));
    if (this.element.hidden) return;
    for (let at = state.group === null ? null : rows[state.group].parent; at !== null; at = rows[at].parent)
      this.opened.add(at);
    if (fresh) {
      const first = rows.filter(({ parent }) => parent === null).reduce((a, b) => (b.weight > a.weight ? b : a));
      this.opened.add(first.index); // where most of the weight goes
    }
    const shown = rows.filter(({ tokens, parent }) => tokens && (parent === null || this.isOpen(parent)));
    const end = Math.max(weightEnd, ...shown.map(({ weight }) => weight));
    const taken = chain.weights.reduce((sum, weight, j) => sum + (aside.keys[j] ? weight : 0), 0);
    setText(this.rest, `special and sink tokens, in no group: ${percent(taken)}`);
    this.rest.hidden = !aside.any;
    setChildren(this.element, [this.head, ...shown.map((row) => this.line(row, state.group, end)), this.rest]);
    this.roving.goTo();
    if (this.query === scene.query && state.group === null) return;
    this.query = scene.query;
    const leaves = shown.filter(({ index, holds }) => !holds || !this.opened.has(index));
    const most = leaves.reduce((a, b) => (b.weight > a.weight ? b : a));
    this.wanted = this.lines.get(state.group ?? most.index) ?? null;
  }

  /** Brings the group that is looked at, or else the heaviest, into sight. Called when the layout is known anyway. */
  look(): void {
    const { element, wanted } = this;
    this.wanted = null;
    if (!wanted || element.scrollHeight <= element.clientHeight) return;
    const top = wanted.offsetTop - wanted.offsetHeight; // below the heading, which stays
    if (top < element.scrollTop || top + 2 * wanted.offsetHeight > element.scrollTop + element.clientHeight)
      element.scrollTop = top - wanted.offsetHeight;
  }

  private isOpen(group: number): boolean {
    const { parent } = this.rows[group];
    return this.opened.has(group) && (parent === null || this.isOpen(parent));
  }

  private line(row: GroupRow, looked: number | null, end: number): HTMLElement {
    const { index, name, weight, share, holds, depth } = row;
    let line = this.lines.get(index);
    if (!line) {
      const begins = h("span", { class: "begins", dir: "auto" }, this.begins(row));
      const title = h("span", { class: "group-name" }, h("b"), begins);
      line = h(
        "button",
        { type: "button", class: "group", role: "treeitem", "data-group": index, "aria-level": depth + 1 },
        title,
        h("span", { class: "num" }),
        h("span", { class: "num" }),
        h("i", { class: "group-ink" }),
      );
      line.style.paddingInlineStart = `${depth * 12}px`;
      this.lines.set(index, line);
    }
    const [title, own, part, ink] = line.children as unknown as HTMLElement[];
    setText(title.firstChild as Element, `${holds ? (this.opened.has(index) ? "▾ " : "▸ ") : ""}${name}`);
    setText(own, percent(weight));
    setText(part, percent(share));
    ink.style.width = `${(52 * Math.min(1, Math.abs(weight) / end)).toFixed(1)}px`;
    setAttribute(line, "aria-expanded", holds ? String(this.opened.has(index)) : null);
    setAttribute(line, "aria-selected", String(index === looked));
    return line;
  }

  private begins({ start, stop, name }: GroupRow): string {
    let text = "";
    for (const { text: own, special, tight } of (this.labels as Label[]).slice(start, Math.min(stop, start + WORDS))) {
      const apart = special || own === "↵";
      if (!apart) text += (tight ? "" : " ") + own;
      // a message begins with its role, in as many pieces as the tokenizer makes of it
      else if (text.trim() === name.split(" ")[0]) text = "";
    }
    return text;
  }
}
