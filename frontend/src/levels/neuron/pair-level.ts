/** B − A at one query: every key with its scores, its weights and their difference beside each other. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { EdgeCue } from "../../base/edge-cue";
import { change, count, fixed, percent, symmetric } from "../../base/format";
import { maskedAt, numberAt, type PairScene, type SideOf } from "../../chain/difference";
import { heightFrom } from "../../heads/visible-height";
import { named } from "../../scene/labels";
import type { Actions, Legend, Level, Picture } from "../../scene/level";
import { exportPair, type PairRow } from "../../scene/pair-export-svg";
import type { Scene } from "../../scene/scene";
import { tokenElement } from "../../scene/token-element";

const COLUMNS = ["token", "score_a", "score_b", "weight_a", "weight_b", "difference"] as const;
type Column = (typeof COLUMNS)[number];
const TITLES: Record<Column, string> = {
  token: "key",
  score_a: "score A",
  score_b: "score B",
  weight_a: "weight A",
  weight_b: "weight B",
  difference: "weight, B − A",
};
/** Keys that are always all shown; of more, those that hardly changed are folded away. */
const FEW = 48;
const HARDLY = 0.001;
const MOST = 1024;
const LEAST = 160; // pixels of the list
const BEFORE = 60; // pixels before the pinned row that come into sight with it: the heading and a row
let made = 0;

export class PairNeuron implements Level {
  readonly name = "neuron";
  readonly element = h("div", { class: "pair-level", "data-level": "neuron" });
  readonly tools: HTMLElement[];
  readonly keys = "↑ ↓ ← → move · Enter pins";
  private readonly message = h("p", { class: "message", role: "note" });
  private readonly grid = h("div", {
    class: "pair-grid",
    role: "grid",
    tabindex: 0,
    "data-grid": "pair",
    "aria-label": "every key: its numbers in A, in B, and the difference of its weights",
  });
  private readonly folded = h("p", { class: "pair-folded", "data-folded": true });
  private readonly id = `p${++made}`;
  private readonly order: HTMLButtonElement;
  private readonly all: HTMLButtonElement;
  private byChange = false;
  private expanded = false;
  private scene: Scene | null = null;
  private shown: number[] = [];
  private place = { row: 0, column: 0 };
  private readonly cue = new EdgeCue(this.grid);
  private room = 0;

  constructor(private readonly actions: Actions) {
    this.order = button("sort by change", { class: "tool", "aria-pressed": "false", "data-tool": "order" }, () => {
      this.byChange = !this.byChange;
      this.redraw();
    });
    this.all = button("unfold all", { class: "tool", "aria-pressed": "false", "data-tool": "expand" }, () => {
      this.expanded = !this.expanded;
      this.redraw();
    });
    this.tools = [this.order, this.all];
    this.element.append(this.message, this.grid, this.folded);
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.grid.addEventListener("focus", () => this.mark(true));
    this.grid.addEventListener("blur", () => this.mark(false));
    this.grid.addEventListener("click", (event) => {
      const row = (event.target as Element).closest<HTMLElement>("[data-row-key]");
      if (row) this.actions.set({ key: Number(row.dataset.rowKey) });
    });
    this.grid.addEventListener("pointerover", (event) => {
      const cell = (event.target as Element).closest<HTMLElement>("[data-col]");
      const row = cell?.closest<HTMLElement>("[data-row-key]");
      if (cell && row) this.actions.say(this.said(Number(row.dataset.rowKey), cell.dataset.col as Column));
    });
  }

  draw(scene: Scene): void {
    this.scene = scene;
    this.redraw();
  }

  legends(scene: Scene): Legend[] {
    return [{ swatch: "sign", said: [["weight, B − A", `${symmetric(scene.weightEnd * 100)} %`]] }];
  }

  /** As high as its rows, or as what is in sight: it scrolls by itself, the page stays. */
  look(): void {
    if (this.element.hidden) return;
    const room = Math.max(LEAST, Math.floor(heightFrom(this.grid) - this.folded.offsetHeight));
    if (room !== this.room) this.grid.style.maxHeight = `${room}px`;
    this.room = room;
    this.cue.look();
  }

  arrive(): void {
    const { grid } = this;
    const row = this.scene?.pinned && grid.querySelector<HTMLElement>("[data-pinned]");
    if (!row) return;
    const { offsetTop, offsetHeight } = row; // within the grid, which is positioned
    const hidden = offsetTop < grid.scrollTop + BEFORE || offsetTop + offsetHeight > grid.scrollTop + grid.clientHeight;
    if (hidden) grid.scrollTop = offsetTop - BEFORE;
  }

  close(): boolean {
    return false;
  }

  picture(): Picture | null {
    const { scene } = this;
    if (!scene?.pair) return null;
    const pair = scene.pair;
    const rows = this.shown.map(
      (key): PairRow => ({
        token: scene.keyLabels[key].text,
        cells: COLUMNS.slice(1).map((column) => this.text(pair, key, column)),
        part: scene.chain.weights[key] / scene.weightEnd,
      }),
    );
    return exportPair(
      scene,
      COLUMNS.map((column) => TITLES[column]),
      rows,
    );
  }

  destroy(): void {
    this.cue.destroy();
  }

  private redraw(): void {
    const { scene } = this;
    if (!scene?.pair) return;
    const { pair, keys, chain } = scene;
    this.order.setAttribute("aria-pressed", String(this.byChange));
    const whole = pair.a.chain && pair.b.chain;
    this.message.hidden = Boolean(whole);
    setText(
      this.message,
      whole ? "" : `Only ${pair.a.chain ? "A" : "B"} has this query, so there is nothing beside it.`,
    );
    const size = (key: number) => Math.abs(chain.weights[key]);
    const folds = keys.length > FEW;
    let shown = folds && !this.expanded ? keys.filter((key) => !(size(key) < HARDLY) || key === scene.key) : [...keys];
    if (this.byChange) shown.sort((i, j) => size(j) - size(i) || i - j);
    const cut = shown.length > MOST;
    if (cut) shown = shown.slice(0, MOST);
    this.shown = shown;
    this.all.hidden = !folds;
    this.all.setAttribute("aria-pressed", String(this.expanded));
    const rest = keys.length - shown.length;
    this.folded.hidden = rest === 0;
    setText(
      this.folded,
      cut
        ? `${count(rest, "key")} more are not drawn; sort by change to see those that changed most.`
        : `${count(rest, "key")} whose weight differs by less than 0.1 %, folded away.`,
    );
    const head = h("div", { role: "row", class: "pair-row pair-head" });
    for (const column of COLUMNS)
      head.append(h("span", { role: "columnheader", "data-heading": column }, TITLES[column]));
    this.grid.replaceChildren(head, ...shown.map((key, i) => this.row(scene, pair, key, i)));
    setAttribute(this.grid, "aria-rowcount", String(keys.length + 1));
    const at = shown.indexOf(scene.key);
    if (!this.grid.matches(":focus") && at >= 0) this.place.row = at;
    this.place.row = Math.max(0, Math.min(this.place.row, shown.length - 1));
    if (this.grid.matches(":focus")) this.mark(true, false);
  }

  private row(scene: Scene, pair: PairScene, key: number, i: number): HTMLElement {
    const row = h("div", { role: "row", class: "pair-row", "data-row-key": key, "data-line": i });
    const { special } = scene.keyLabels[key];
    row.classList.toggle("dimmed", special && scene.dimSpecial && key !== scene.key && key !== scene.query);
    if (key === scene.key) row.dataset.pinned = "";
    if (key === scene.key) row.setAttribute("aria-selected", "true");
    for (const [n, column] of COLUMNS.entries()) {
      const cell = h("span", { role: "gridcell", "data-col": column, id: `${this.id}-${i}-${n}` });
      const value = this.value(pair, key, column);
      if (column === "token") {
        const label = scene.keyLabels[key];
        cell.append(tokenElement(label.text, label.special ? "special" : ""));
      } else {
        if (value !== null) cell.dataset.value = String(value);
        if (column === "difference") cell.append(this.bar(scene, key));
        cell.append(h("span", { class: "n" }, this.text(pair, key, column)));
      }
      row.append(cell);
    }
    return row;
  }

  /** From the middle to the right where the weight grew, to the left where it shrank. */
  private bar({ chain, weightEnd, ramp }: Scene, key: number): HTMLElement {
    const weight = chain.weights[key];
    const part = Number.isFinite(weight) ? Math.min(1, Math.abs(weight) / weightEnd) : 0;
    const bar = h("i", { class: "pair-bar", "aria-hidden": "true" });
    bar.append(h("b"));
    const ink = bar.firstElementChild as HTMLElement;
    ink.style.width = `${50 * part}%`;
    ink.style[weight < 0 ? "right" : "left"] = "50%";
    ink.style.background = weight < 0 ? ramp.palette.negative : ramp.palette.positive;
    return bar;
  }

  private value(pair: PairScene, key: number, column: Column): number | null {
    const { scene } = this;
    if (column === "token" || !scene) return null;
    if (column === "difference") return pair.a.chain && pair.b.chain ? scene.chain.weights[key] : null;
    const side = column.endsWith("_a") ? pair.a : pair.b;
    return numberAt(side, (chain) => (column.startsWith("score") ? chain.biased : chain.weights), key);
  }

  private text(pair: PairScene, key: number, column: Column): string {
    const value = this.value(pair, key, column);
    if (column === "difference") return value === null ? "–" : change(value);
    const side: SideOf = column.endsWith("_a") ? pair.a : pair.b;
    if (side.keys[key] === null) return "not there";
    if (value === null) return "–";
    if (maskedAt(side, key)) return "masked";
    return column.startsWith("score") ? fixed(value, 3) : percent(value);
  }

  private said(key: number, column: Column): string {
    const { scene } = this;
    if (!scene?.pair) return "";
    const label = scene.keyLabels[key];
    const where = (side: SideOf) =>
      side.keys[key] === null ? `not in ${side.name}` : `${side.keys[key]} in ${side.name}`;
    if (column === "token") return `key ${named(label)}: ${where(scene.pair.a)}, ${where(scene.pair.b)}`;
    return `${TITLES[column]} of ${named(label)}: ${this.text(scene.pair, key, column)}`;
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.scene) return;
    const { row, column } = this.place;
    const last = this.shown.length - 1;
    const moves: Record<string, [number, number]> = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      PageUp: [row - 10, column],
      PageDown: [row + 10, column],
      Home: [0, column],
      End: [last, column],
    };
    const move = moves[event.key];
    if (move) {
      this.place = {
        row: Math.max(0, Math.min(last, move[0])),
        column: Math.max(0, Math.min(COLUMNS.length - 1, move[1])),
      };
      this.mark(true);
    } else if (event.key === "Enter" || event.key === " ") {
      const key = this.shown[row];
      // pinned already: Enter is the frame's, which goes one level in
      if (event.key === "Enter" && this.scene.pinned && key === this.scene.key) return;
      this.actions.set({ key });
    } else return;
    event.preventDefault();
  }

  private mark(on: boolean, say = true): void {
    this.grid.querySelector("[data-active]")?.removeAttribute("data-active");
    setAttribute(this.grid, "aria-activedescendant", null);
    if (!on || !this.shown.length) return;
    const { row, column } = this.place;
    const cell = this.grid.querySelector<HTMLElement>(`#${this.id}-${row}-${column}`);
    if (!cell) return;
    cell.dataset.active = "";
    setAttribute(this.grid, "aria-activedescendant", cell.id);
    cell.scrollIntoView({ block: "nearest" });
    if (say) this.actions.say(this.said(this.shown[row], COLUMNS[column]));
  }
}
