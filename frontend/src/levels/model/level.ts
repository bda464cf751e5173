/** The model level: every head of every layer as a thumbnail. It reads the pooled weights of the payload, and no tensors. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { symmetric } from "../../base/format";
import { niceChange, nicePart, weightDomain } from "../../base/scale";
import type { Source } from "../../data/source";
import { levels } from "../../generated/words.json";
import { groupsOf } from "../../scene/groups";
import { isolated, type Label, labels } from "../../scene/labels";
import type { Actions, Legend, Level, LevelEntry, Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import type { Part } from "../../scene/text";
import { HeadDataTable } from "./data-table";
import { exportSvg } from "./export-svg";
import { finding } from "./finding";
import { type Drawing, Grid } from "./grid";
import { type Head, headName, headsOf, type PixelRange, pixelRangeOf } from "./heads";
import { byLayer, inOrder } from "./layout";
import { headSaid, notesOf } from "./notes";
import { LINES_FROM, type Look, lookOf, partOf } from "./paint";
import { isPairName, PairNumbers } from "./pair-numbers";
import { Panel } from "./panel";
import { Statistics } from "./statistics";
import css from "./style.css";

let made = 0;

export class ModelLevel implements Level {
  readonly name = "model";
  readonly element = h("div", { class: "model-level", "data-level": "model" });
  readonly tools: HTMLElement[];
  readonly keys: string;
  private readonly heads: Head[];
  private readonly statistics: Statistics;
  private readonly stock: PixelRange;
  private readonly end: number;
  private readonly labels: Label[][];
  private readonly sort: HTMLSelectElement;
  private readonly thumbs: HTMLSelectElement;
  private readonly tableTool: HTMLButtonElement;
  private readonly note = h("p", { class: "model-note", "data-model-note": true });
  private readonly message = h("p", { class: "message", role: "note" });
  private readonly grid: Grid;
  private readonly panel: Panel;
  private readonly figures: HeadDataTable;
  private readonly inkSwatch = h("i", { class: "swatch model-swatch" });
  private readonly absentSwatch = h("i", { class: "model-swatch-absent" });
  private readonly observer: ResizeObserver;
  private scene: Scene | null = null;
  private drawing: Drawing | null = null;
  private drawn = "";
  private offered = "";
  private looked: Head | null = null;
  private arrived = false;

  constructor(
    private readonly actions: Actions,
    private readonly viewport: () => { top: number; bottom: number },
    private readonly source: Source,
  ) {
    const { meta } = source;
    this.keys = `↑ ↓ ← → walk${actions.edits ? " · Space switches off" : ""}`;
    this.heads = headsOf(source);
    this.statistics = new Statistics(meta, this.heads);
    this.stock = pixelRangeOf(this.heads);
    this.end = (this.stock.signed ? niceChange : nicePart)(this.stock.high);
    this.labels = meta.tokens.map(labels);
    this.sort = h("select", { "aria-label": "order of the heads", "data-tool": "sort" });
    this.sort.addEventListener("change", () => actions.set({ sort: this.sort.value }));
    this.thumbs = h(
      "select",
      { "aria-label": "how a thumbnail is drawn", "data-tool": "thumbs" },
      h("option", { value: "matrix" }, "small matrices"),
      h("option", { value: "lines" }, "lines"),
    );
    this.thumbs.addEventListener("change", () => actions.set({ thumbs: this.thumbs.value as "matrix" | "lines" }));
    this.tableTool = button("data table", { class: "tool", "aria-pressed": "false", "data-tool": "table" }, () =>
      this.toggleTable(),
    );
    const menu = (select: HTMLSelectElement) => h("span", { class: "menu" }, select);
    this.tools = [menu(this.sort), menu(this.thumbs), this.tableTool];
    const open = (head: Head) => this.enter(head);
    const host = {
      look: (head: Head | null) => this.lookAt(head),
      enter: open,
      absent: (head: Head) => this.absent(head),
      edits: actions.edits,
    };
    this.grid = new Grid(host, this.statistics, `m${++made}`);
    this.panel = new Panel(this.statistics, this.labels, open, actions.edits?.button);
    this.figures = new HeadDataTable(this.statistics);
    this.message.hidden = this.heads.some(({ octets }) => octets);
    setText(
      this.message,
      "The thumbnails are not in this data: it was written without them, or that part cannot be read. The heads can be opened.",
    );
    const main = h("div", { class: "model-main" }, this.message, this.note, this.grid.element, this.figures.element);
    this.element.append(main, this.panel.element);
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.element);
    this.observer.observe(this.grid.element);
  }

  draw(scene: Scene): void {
    this.scene = scene;
    this.prepare(scene);
    this.offer();
    this.sort.value = this.order;
    this.thumbs.value = scene.state.thumbs;
    setText(this.note, notesOf(scene, this.statistics, this.stock).join(" "));
    this.lay();
    this.figures.draw(this.statistics.ordered(this.order), this.orderSaid);
    this.grid.choose(this.selected(scene));
    this.enlarge();
  }

  /** The orders that there are numbers for. */
  private offer(): void {
    const offered = ["layer", ...this.statistics.names];
    const texts = offered.map((name) => (name === "layer" ? "by layer" : `by ${this.statistics.full(name)}`));
    if (texts.join() === this.offered) return;
    this.offered = texts.join();
    this.sort.replaceChildren(...offered.map((value, i) => h("option", { value }, texts[i])));
  }

  /** The pair that is shown has numbers of its own. */
  private prepare(scene: Scene): void {
    if (scene.pair) return;
    const { queryLabels, keyLabels, query, key } = scene;
    const to = (name: string) => `${isolated(queryLabels[query].text)} → ${name}`;
    const group = to(groupsOf(scene)[scene.state.group ?? -1]?.name ?? "");
    this.statistics.setPair(new PairNumbers(this.source, scene, this.heads), to(isolated(keyLabels[key].text)), group);
  }

  sentence(scene: Scene): Part[] {
    this.prepare(scene);
    return finding(this.statistics, scene.state.sort, this.labels);
  }

  legends(scene: Scene): Legend[] {
    const lines = scene.state.thumbs === "lines";
    const { stock } = this;
    const sign = stock.signed ? "difference" : "weight";
    const what = stock.pooled ? `largest ${sign} in each patch` : stock.signed ? "weight, B − A" : "weight";
    const domain = stock.signed
      ? `${symmetric(this.end * 100)} %${this.end < 1 ? " and beyond" : ""}, by square root: small changes show`
      : lines
        ? `${weightDomain(this.end).replace(/^0/, String(100 * LINES_FROM))}, the strongest of each head`
        : `${weightDomain(this.end)}${this.end < 1 ? "; more is as dark" : ""}`;
    const legends: Legend[] = [{ swatch: this.inkSwatch, said: [[what, domain]] }];
    if (stock.masked && !lines)
      legends.push({ swatch: "masked", said: [["", stock.signed ? "only in one" : "masked"]] });
    if (stock.broken && !lines) legends.push({ swatch: "broken", said: [["", "NaN"]] });
    if (this.anyAbsent) legends.push({ swatch: this.absentSwatch, said: [["", "not in this page"]] });
    return legends;
  }

  look(): void {
    const { top, bottom } = this.viewport();
    this.grid.fill(top, bottom);
  }

  arrive(): void {
    const { top, bottom } = this.viewport();
    this.grid.fill(top, bottom);
    // who comes back finds the head again; who comes first reads the sentence first
    if (this.arrived) this.grid.reveal({ top, bottom });
    this.arrived = true;
  }

  close(): boolean {
    if (this.figures.element.hidden) return false;
    this.toggleTable();
    return true;
  }

  picture(): Picture | null {
    const { scene, drawing } = this;
    if (!scene || !drawing) return null;
    const scales = this.legends(scene).flatMap(({ said }) => said.map(([name, domain]) => `${name} ${domain}`.trim()));
    const notes = [
      scales.join("  ·  "),
      ...notesOf(scene, this.statistics, this.stock),
      `queries downwards, keys to the right; layers and heads count from 0 · attnscope ${scene.meta.versions?.attnscope ?? ""}`,
    ];
    return exportSvg(scene, drawing, this.statistics, this.sentence(scene), notes);
  }

  destroy(): void {
    this.observer.disconnect();
  }

  private get order(): string {
    const { sort } = (this.scene as Scene).state;
    return this.statistics.has(sort) ? sort : "layer";
  }

  private get orderSaid(): string {
    return this.order === "layer" ? "by layer" : `by ${this.statistics.full(this.order)}, highest first`;
  }

  private selected({ site, state }: Scene): Head {
    return this.heads.find((one) => one.site.index === site.index && one.head === state.head) ?? this.heads[0];
  }

  private absent({ site, head }: Head): boolean {
    return !this.source.live && !this.source.holds(site.index, head);
  }

  private get anyAbsent(): boolean {
    return this.heads.some((head) => this.absent(head));
  }

  /** Thumbnails are laid out and drawn again only where something of theirs changed. */
  private lay(): void {
    const scene = this.scene as Scene;
    const width = this.grid.element.clientWidth;
    if (width === 0) return;
    const ratio = devicePixelRatio || 1;
    const lines = scene.state.thumbs === "lines";
    const pair = isPairName(this.order) ? `${scene.query} ${scene.key} ${scene.state.group}` : "";
    const rest = `${lines} ${width} ${ratio} ${Object.values(scene.ramp.palette)}`;
    const name = `${this.order} ${pair} ${rest}`;
    if (name === this.drawn) return;
    const before = this.drawn.endsWith(` ${rest}`) ? this.drawing : null;
    this.drawn = name;
    const heads = this.statistics.ordered(this.order);
    const sort = this.order === "layer" ? null : this.order;
    // a pixel of room for the frame of the one that is chosen
    const plan = sort === null ? byLayer(heads, width - 8, ratio, this.anyAbsent) : inOrder(heads, width - 8, ratio);
    const style = getComputedStyle(this.element);
    const look: Look = lookOf(
      scene.ramp,
      this.end,
      style.getPropertyValue("--hatch").trim(),
      style.getPropertyValue("--strong-line").trim(),
      this.stock.signed,
    );
    this.drawing = { plan, look, lines, ratio, sort };
    const from = look.signed ? -look.end : 0;
    const stops = Array.from({ length: 17 }, (_, i) => from + ((look.end - from) * i) / 16);
    this.inkSwatch.style.backgroundImage = `linear-gradient(to right, ${stops.map((weight) => look.ink.css(partOf(weight, look), 1)).join(", ")})`;
    this.grid.draw(this.drawing);
    this.look();
    if (before) this.grid.moveFrom(before.plan);
  }

  private measure(): void {
    if (!this.scene || this.element.hidden) return;
    const before = this.drawn;
    this.lay();
    if (before !== this.drawn) this.grid.choose(this.selected(this.scene));
    this.element.style.setProperty("--model-panel", `${this.panel.element.offsetHeight}px`);
    this.enlarge();
    this.look();
  }

  private lookAt(head: Head | null): void {
    this.looked = head;
    this.enlarge();
    if (head) this.actions.say(headSaid(head, this.statistics, this.order, this.labels, this.stock.signed));
  }

  private enlarge(): void {
    const { scene, drawing } = this;
    if (!scene || !drawing) return;
    const head = this.looked ?? this.selected(scene);
    this.actions.edits?.shows(headName(head));
    const { site } = head;
    const absent = this.absent(head) ? (this.source.pictured?.(site.index, head.head) ? "picture" : "all") : null;
    this.panel.show(head, this.order, absent, drawing.look, drawing.lines, drawing.ratio);
  }

  private enter(head: Head): void {
    const { site } = head;
    this.actions.go({ level: "head", stack: site.stack, layer: site.layer, head: head.head });
  }

  private toggleTable(): void {
    const { element } = this.figures;
    element.hidden = !element.hidden;
    setAttribute(this.tableTool, "aria-pressed", String(!element.hidden));
    if (!this.scene || element.hidden) return;
    this.figures.draw(this.statistics.ordered(this.order), this.orderSaid);
    element.scrollIntoView({ block: "start" });
  }
}

export const modelLevel: LevelEntry = {
  name: "model",
  ...levels.model,
  css,
  make: (actions, viewport, source) => new ModelLevel(actions, viewport, source),
};
