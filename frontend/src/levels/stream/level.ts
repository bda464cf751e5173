/** The stream level: from the text to the prediction. At one position, what each block adds; or, as a grid, the lens at all. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { explained } from "../../base/explained";
import type { Site } from "../../data/metadata";
import type { Source } from "../../data/source";
import { type StreamTable, streamOf } from "../../data/stream";
import { levels } from "../../generated/words.json";
import type { Rows as Table } from "../../heads/csv";
import { DataTable } from "../../heads/data-table";
import { type Column, columnOf, type Line } from "../../heads/stream-column";
import { inLine, type Label, labels } from "../../scene/labels";
import type { Actions, Legend, Level, LevelEntry, Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import type { Part } from "../../scene/text";
import { tableOf, tableOfLens } from "./data-table";
import { exportLens, exportSvg } from "./export-svg";
import { folded } from "./folding";
import { LensGrid } from "./lens-grid";
import { heldAt, NotHeld } from "./not-held";
import { Positions } from "./positions";
import { Predictions } from "./predictions";
import { FAILED, receiptRow } from "./receipt";
import { endsOf, Rows } from "./rows";
import { sentenceOf, sentenceOfLens } from "./sentence";
import css from "./style.css";
import { legendsOf, titlesOf } from "./titles";

export class StreamLevel implements Level {
  readonly name = "stream";
  readonly element = h("div", { class: "stream-level", "data-level": "stream" });
  readonly tools: HTMLElement[];
  private readonly site: Site;
  private readonly labels: Label[];
  private readonly positions: Positions;
  private readonly predictions: Predictions;
  private readonly rows: Rows;
  private readonly lens: LensGrid;
  private readonly figures = new DataTable();
  private readonly lensTool: HTMLButtonElement;
  private readonly wholeTool: HTMLButtonElement;
  private readonly tableTool: HTMLButtonElement;
  private readonly missing: NotHeld;
  private readonly warning = h("p", { class: "stream-failed", role: "alert" });
  private readonly note = h("p", { class: "stream-note" });
  private readonly titles = h("div", { class: "stream-titles", "aria-hidden": "true" });
  private readonly receipt = h("div");
  private readonly middle: HTMLElement;
  private readonly body: HTMLElement;
  /** Rows whose parts are shown: at first the one with the part that adds most. */
  private opened: Set<string> | null = null;
  /** Every layer has rows of its own. */
  private whole = false;
  private columns = new Map<string, Column>();
  private scene: Scene | null = null;

  constructor(
    private readonly actions: Actions,
    source: Source,
    private readonly table: StreamTable,
  ) {
    const { note } = table;
    const { sites, tokens } = source.meta;
    this.site = sites.find(({ stack, kind }) => stack === note.stack && kind === "self") ?? sites[0];
    this.labels = labels(tokens[this.site.query_tokens]);
    const go = (position: number) => this.go(position);
    const say = (text: string) => actions.say(text);
    this.positions = new Positions(table, this.labels, { say, go });
    this.predictions = new Predictions(note.task, {
      say,
      choose: (target, against) => actions.set({ target, against }),
    });
    this.missing = new NotHeld(table, this.labels, this.site, go);
    this.rows = new Rows({
      say,
      toggle: (line) => this.toggle(line),
      enter: (line) => this.enter(line),
    });
    this.lens = new LensGrid(table, this.labels, { say, go });
    this.lensTool = button("lens grid", { class: "tool", "aria-pressed": "false", "data-tool": "lens" }, () =>
      actions.set({ lens: !this.scene?.state.lens }),
    );
    this.lensTool.hidden = !this.hasLens;
    this.tableTool = button("data table", { class: "tool", "aria-pressed": "false", "data-tool": "table" }, () =>
      this.toggleTable(),
    );
    this.wholeTool = explained(
      button("every layer", { class: "tool", "aria-pressed": "false", "data-tool": "whole" }, () => this.toggleWhole()),
      "Layers whose parts are all below a tenth of the largest stand together in one row. This shows each of them.",
    );
    this.tools = [this.lensTool, this.wholeTool, this.tableTool];
    this.middle = h("section", { class: "stream-middle" }, this.warning, this.titles, this.rows.element, this.receipt);
    this.body = h("div", { class: "stream-body" }, this.positions.element, this.middle, this.predictions.element);
    this.body.toggleAttribute("data-predicts", note.targets.length > 0);
    this.element.append(this.missing.element, this.note, this.body, this.lens.element, this.figures.element);
  }

  get keys(): string {
    if (this.scene && this.isLens(this.scene)) return "↑ ↓ ← → walk · Enter on another position chooses it";
    return "↑ ↓ walk · → opens a block into its heads, ← closes it";
  }

  /** What is not the model's own is not read by its lens either. */
  private get hasLens(): boolean {
    const { lens_text, receipt } = this.table.note;
    return lens_text.length > 0 && receipt.passed;
  }

  private isLens({ state }: Scene): boolean {
    return state.lens && this.hasLens;
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const row = this.rowOf(scene);
    const lens = this.isLens(scene);
    setAttribute(this.lensTool, "aria-pressed", String(lens));
    this.body.hidden = lens;
    this.lens.element.hidden = !lens;
    this.missing.draw(scene, row);
    this.positions.draw(row);
    const column = this.columnOf(scene);
    this.middle.hidden = this.predictions.element.hidden = !column;
    setText(this.note, this.said(column));
    this.note.hidden = !this.note.textContent;
    if (lens) this.lens.draw(row, scene.ramp);
    else this.lens.leave();
    if (this.figures.open) this.figures.draw(() => this.tableOf(scene, column));
    if (!column) return;
    this.opened ??= new Set(strongest(column));
    this.predictions.draw(column);
    this.predictions.element.hidden = !column.predictions.length;
    setAttribute(this.wholeTool, "aria-pressed", String(this.whole));
    this.wholeTool.hidden = lens || folded(column, false).length === column.lines.length;
    const failed = !column.receipt.passed;
    setText(this.warning, failed ? `✕ ${FAILED}` : "");
    this.warning.hidden = !failed;
    this.rows.element.hidden = this.titles.hidden = this.tableTool.hidden = failed;
    this.middle.toggleAttribute("data-bare", !column.lens.length);
    this.rows.draw(column, this.linesOf(column), this.opened, this.isSelected(scene), endsOf(column));
    this.titles.replaceChildren(...titlesOf(column));
    this.receipt.replaceChildren(receiptRow(column, this.table.note.receipt));
  }

  sentence(scene: Scene): Part[] | null {
    this.scene = scene; // the frame asks for the sentence first, then for the keys
    const column = this.columnOf(scene);
    if (column) return this.isLens(scene) ? sentenceOfLens(column) : sentenceOf(column);
    return [`The stream is held at ${heldAt(this.table)}, and not at the query `, ...this.query(scene), "."];
  }

  legends(scene: Scene): Legend[] {
    const { targets, lens_text } = this.table.note;
    const column = this.isLens(scene) ? null : this.columnOf(scene);
    return legendsOf(column, targets.length > 0 || lens_text.length > 0);
  }

  look(): void {}

  arrive(): void {
    if (!this.scene) return;
    this.positions.reveal(this.rowOf(this.scene));
    this.lens.reveal();
  }

  close(): boolean {
    if (!this.figures.open) return false;
    this.toggleTable();
    return true;
  }

  picture(): Picture | null {
    const { scene } = this;
    if (!scene) return null;
    const row = this.rowOf(scene);
    const column = this.columnOf(scene);
    if (this.isLens(scene)) return exportLens(scene, this.table, this.labels, row, column && sentenceOfLens(column));
    const { note } = this.table;
    if (!column) return null;
    const drawn = { lines: this.linesOf(column), opened: this.opened ?? new Set<string>() };
    return exportSvg(scene, column, drawn, this.where(scene), note, this.said(column));
  }

  destroy(): void {
    this.positions.destroy();
    this.lens.destroy();
  }

  /** The row of the query; −1 where its stream is not held, or it is a token of another text. */
  private rowOf({ site, query }: Scene): number {
    return site.query_tokens === this.site.query_tokens ? this.table.row(query) : -1;
  }

  private columnOf(scene: Scene): Column | null {
    const row = this.rowOf(scene);
    if (row < 0) return null;
    const { target, against } = scene.state;
    const name = `${row} ${target} ${against}`;
    let column = this.columns.get(name);
    if (!column) {
      column = columnOf(this.table, row, target, against);
      this.columns = new Map([[name, column]]); // the last one is enough
    }
    return column;
  }

  private isSelected({ state, site }: Scene): (line: Line) => boolean {
    return (line) =>
      line.kind === "head" &&
      line.head === state.head &&
      line.layer === state.layer &&
      this.siteOf(line)?.index === site.index;
  }

  /** Whose head a row is. */
  private siteOf(line: Line): Site | undefined {
    const { sites } = (this.scene as Scene).meta;
    const block = line.block === null ? null : this.table.note.blocks[line.block];
    const kind = block?.kind === "cross" ? "cross" : "self";
    return sites.find(
      (one) =>
        one.kind === kind &&
        one.layer === block?.layer &&
        (kind === "cross" ? one.query_tokens === this.site.query_tokens : one.stack === this.table.note.stack),
    );
  }

  private linesOf(column: Column): Line[] {
    return folded(column, this.whole);
  }

  private toggleWhole(): void {
    this.whole = !this.whole;
    for (const id of this.opened ?? []) if (id.startsWith("layers-")) this.opened?.delete(id);
    if (this.scene) this.draw(this.scene);
  }

  private go(position: number): void {
    const scene = this.scene as Scene;
    const { stack, layer } = this.site;
    const here = scene.site.query_tokens === this.site.query_tokens;
    this.actions.set({ query: position, key: null, ...(here ? {} : { stack, layer, head: 0 }) });
  }

  private enter(line: Line): void {
    const site = this.siteOf(line);
    if (!site || line.head === null) {
      this.actions.notice(`The attention of ${line.name} was not captured, so it cannot be opened.`);
      return;
    }
    this.actions.go({ level: "head", stack: site.stack, layer: site.layer, head: line.head, key: null });
  }

  private toggle(line: Line): void {
    const opened = this.opened ?? new Set();
    if (!opened.delete(line.id)) opened.add(line.id);
    this.opened = opened;
    if (this.scene) this.draw(this.scene);
  }

  private query({ queryLabels, query }: Scene): Part[] {
    const label = queryLabels[query];
    return [{ token: label.text, key: null, special: label.special, at: query }];
  }

  private where({ queryLabels, query }: Scene): string {
    return `“${inLine(queryLabels[query])}” at ${query}`;
  }

  /** What a reader must know beside the numbers. */
  private said(column: Column | null): string {
    const { note } = this.table;
    if (!column || column.attributed || !column.receipt.passed) return "";
    return note.refused ? `Nothing is attributed to a logit: ${note.refused}.`.replace(/\.\.$/, ".") : "";
  }

  private toggleTable(): void {
    const { scene } = this;
    if (scene) this.figures.draw(() => this.tableOf(scene, this.columnOf(scene)));
    setAttribute(this.tableTool, "aria-pressed", String(this.figures.toggle()));
  }

  /** Of what is shown: the lens at every position, or the column of one. */
  private tableOf(scene: Scene, column: Column | null): Table {
    if (this.isLens(scene) || !column) return tableOfLens(this.table, this.labels);
    return tableOf(column, this.where(scene));
  }
}

/** The row of the part that adds most. */
function strongest({ lines }: Column): string[] {
  let best: Line | null = null;
  const size = (line: Line) => Math.abs(line.parts[0]?.value ?? 0);
  for (const line of lines) if (line.parts.length && size(line) > (best ? size(best) : 0)) best = line;
  return best ? [best.id] : [];
}

export const streamLevel: LevelEntry = {
  name: "stream",
  ...levels.stream,
  css,
  missing: (source) =>
    streamOf(source)
      ? null
      : (source.meta.notes.find((note) => note.startsWith("The residual stream")) ??
        'This trace does not hold the residual stream. To see it: attnscope.show(model, tokenizer, text, level="stream").'),
  make: (actions, _viewport, source) => new StreamLevel(actions, source, streamOf(source) as StreamTable),
};
