/** The head level: queries on the left, keys on the right, a line for each weight. */

import { AfterFrame, h, setText } from "../../base/dom";
import type { Source } from "../../data/source";
import { levels } from "../../generated/words.json";
import { type Axes, AxesOf } from "../../heads/axes";
import { combined } from "../../heads/axis";
import { DataTable } from "../../heads/data-table";
import { completed, headSentence, selected } from "../../heads/head-sentence";
import { titleOf } from "../../heads/members";
import { Notes, notesOf } from "../../heads/notes";
import { nameOf, type Pen, pensOf } from "../../heads/palette";
import { Pending } from "../../heads/pending";
import { rowsOf, slotRow } from "../../heads/rows";
import { SharedTools } from "../../heads/tools";
import type { Actions, Legend, Level, LevelEntry, Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import type { Part } from "../../scene/text";
import { spoken } from "./aria-text";
import { Bar } from "./bar";
import type { Side } from "./column";
import { CursorValue } from "./cursor-value";
import { dataTableOf } from "./data-table";
import { Drawing } from "./drawing";
import { exportSvg } from "./export-svg";
import { Faint } from "./faint";
import { type Highlight, highlightOf, isNextQuery, type Place } from "./highlight";
import { legendsOf } from "./legends";
import { NOTHING, type Overlay, overlay } from "./overlay";
import { Reading } from "./reading";
import { Selection } from "./selection";
import css from "./style.css";
import { columnsOf } from "./titles";

export class HeadLevel implements Level {
  readonly name = "head";
  readonly element = h("div", { class: "head-level", "data-level": "head" });
  readonly tools: HTMLElement[];
  readonly keys = "↑ ↓ walk · ← → other side · Enter pins · Space selects several";
  private readonly shared: SharedTools;
  private readonly bar: Bar;
  private readonly message = h("p", { class: "message", role: "note" });
  private readonly drawing: Drawing;
  private readonly reading: Reading;
  private readonly notes = new Notes();
  private readonly pages = new DataTable();
  private readonly faint: Faint;
  private readonly later = new AfterFrame();
  private readonly arrivals: Pending;
  private readonly axesOf = new AxesOf();
  private readonly observer: ResizeObserver;
  private scene: Scene | null = null;
  private axes: Axes | null = null;
  private of: Overlay = NOTHING;
  private pens: Pen[] = [];
  private chosen: number[] = [];
  private hovered: Place | null = null;
  private focus: Highlight | null = null;
  private faintName = "";
  /** Of which lines `focus` is; "": of what is pointed at. */
  private focused = "";

  constructor(
    private readonly actions: Actions,
    viewport: () => { top: number; bottom: number },
    private readonly source: Source,
  ) {
    const selection = new Selection(actions, () => ({ axes: this.axes as Axes, scene: this.scene as Scene }));
    this.drawing = new Drawing(viewport, {
      hover: (side, slot) => this.hover(side, slot),
      pin: (side, slot) => selection.pin(side, slot),
      toggle: (slot) => selection.toggle(slot),
      enter: (side, slot) => selection.enter(side, slot),
    });
    this.faint = new Faint((lines) => this.drawing.lines.setFaint(lines, this.pens));
    this.arrivals = new Pending(() => this.arrived(), actions.notice);
    this.shared = new SharedTools(actions, () => this.toggleTable());
    this.tools = this.shared.elements;
    this.bar = new Bar(actions, (scene, head) => source.live || source.holds(scene.site.index, head));
    this.message.hidden = true;
    new CursorValue(
      this.drawing.lines,
      () => this.axes,
      (head) => (this.of.heads.length > 1 ? nameOf(this.pens, this.of.heads[head], head) : ""),
    );
    this.reading = new Reading((slot) => selection.pin("key", slot));
    const body = h("div", { class: "head-body" }, this.drawing.element, this.reading.element);
    this.element.append(this.message, this.bar.element, body, this.notes.element, this.pages.element);
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.element);
  }

  draw(scene: Scene): void {
    const { site, meta } = scene;
    const axes = this.prepare(scene);
    this.message.hidden = this.of.caches.length > 0;
    if (!this.of.caches.length) {
      const waiting = "Waiting for the heads of this picture …";
      setText(this.message, this.of.coming.length ? waiting : "None of the heads of this picture are here.");
      return;
    }
    this.shared.show(scene);
    this.pens = pensOf(scene, this.of.heads.length);
    this.bar.draw(scene, this.of.heads, this.pens, this.chosen.length);
    this.drawing.lay(axes, this.of.heads.length, {
      query: meta.tokens[site.query_tokens].border,
      key: meta.tokens[site.key_tokens].border,
    });
    this.drawFaint(scene, axes);
    this.focusAnew();
    this.drawing.reveal(axes, scene.query, this.row(0).weights);
    if (this.pages.open) this.later.run(() => this.table());
    else this.table();
  }

  sentence(scene: Scene): Part[] | null {
    const axes = this.prepare(scene);
    const [cache] = this.of.caches;
    if (!cache || !this.chosen.length) return null;
    completed(cache);
    return headSentence(scene, cache, axes, this.row(0));
  }

  legends(scene: Scene): Legend[] {
    return legendsOf(scene, this.focus?.beside.key?.end ?? 1);
  }

  look(): void {
    this.measure();
  }

  private measure(): void {
    if (this.axes && !this.element.hidden) this.drawing.measure();
  }

  arrive(): void {}

  close(): boolean {
    if (!this.pages.open) return false;
    this.toggleTable();
    return true;
  }

  leave(): void {
    if (this.faint.cancel()) this.faintName = ""; // gathered anew when the level is drawn again
  }

  destroy(): void {
    this.faint.cancel();
    this.later.cancel();
    this.arrivals.cancel();
    this.observer.disconnect();
  }

  // -- what a scene means here

  /** Once per scene. */
  private prepare(scene: Scene): Axes {
    const before = this.scene;
    const axes = this.axesOf.of(scene);
    if (before === scene) return axes;
    this.scene = scene;
    if (axes.name !== this.axes?.name || before?.site !== scene.site) this.hovered = null;
    this.axes = axes;
    this.chosen = selected(scene, axes);
    this.gather(scene);
    return axes;
  }

  private gather(scene: Scene): void {
    this.of = overlay(this.source, scene, this.actions);
    this.arrivals.wait(this.of.coming);
  }

  private arrived(): void {
    if (!this.scene) return;
    this.gather(this.scene);
    this.draw(this.scene);
  }

  /** The row of the selected queries. */
  private row(head: number) {
    const { axes, scene } = this as unknown as { axes: Axes; scene: Scene };
    return combined(
      this.chosen.map((slot) => slotRow(this.of.caches[head], axes, slot, true)),
      scene.state.combine,
    );
  }

  /** Whose row a note speaks of, where several are drawn over each other. */
  private first(): string {
    const { heads } = this.of;
    if (heads.length < 2) return "this row";
    return this.pens[0].name ? `what ${this.pens[0].name} in this row` : `this row of head ${heads[0]}`;
  }

  // -- drawing

  private drawFaint({ state }: Scene, axes: Axes): void {
    const { heads, caches } = this.of;
    const name = `${heads} ${axes.name} ${state.threshold} ${caches.map(({ site, members }) => `${site.index}.${members.length}.${members[0].head}`)} ${this.pens[0].colour}`;
    if (name === this.faintName) return;
    this.faintName = name;
    this.faint.draw([...caches], axes, state.threshold, () => {
      this.focusAnew();
      this.actions.set({}); // what the head does over the whole text is known now: show it
    });
  }

  /** What is looked at: the selected queries and the pinned key, or what is pointed at. */
  private focusAnew(): void {
    const { axes, scene, hovered } = this;
    const { caches, heads, found } = this.of;
    if (!axes || !scene || !caches.length) return;
    const colours = caches.map((_, i) => (caches.length > 1 ? this.pens[i].colour : null));
    const focus = highlightOf(
      caches,
      axes,
      scene.state,
      this.chosen,
      hovered,
      colours,
      this.own() ? scene.weightEnd : null,
    );
    // what is pointed at shows at once; what is chosen moves
    const focused = hovered ? "" : this.faintName;
    const moves = focused !== "" && focused === this.focused && this.focus !== null && isNextQuery(this.focus, focus);
    this.focused = focused;
    this.focus = focus;
    this.drawing.show(focus, axes, scene.state, heads, this.chosen, hovered, this.pens, moves);
    this.bar.say(focus.undrawn, focus.missing, this.first(), focus.lines.length > 0);
    this.read(focus);
    if (hovered || !focus.rows.length) return;
    const rows = focus.slots.flatMap((slot) => rowsOf(caches[0], axes, slot, true));
    this.notes.draw(notesOf(scene, axes, found[0], rows, focus.rows[0], this.first()));
  }

  /** The row that is looked at is that of the scene's query and head alone. */
  private own(): boolean {
    const { scene, axes, hovered, chosen } = this;
    if (!scene || !axes || scene.pair || scene.state.average !== "none" || axes.merged) return false;
    const over = hovered?.side === "query" ? hovered.slot : axes.query;
    return this.of.heads.length === 1 && chosen.length === 1 && over === axes.query;
  }

  private read(focus: Highlight): void {
    const { scene, axes } = this;
    const [row] = focus.rows;
    this.reading.element.hidden = !row || scene?.pair !== null || this.of.heads.length > 1;
    if (!scene || !axes || this.reading.element.hidden) return;
    const several = focus.slots.length > 1;
    const read = { slot: several ? null : focus.slots[0], queries: focus.slots.length, row, own: this.own() };
    this.reading.draw(read, scene, axes);
  }

  // -- what the reader does

  private hover(side: Side, slot: number | null): void {
    if (slot === null ? this.hovered === null : this.hovered?.side === side && this.hovered.slot === slot) return;
    this.hovered = slot === null ? null : { side, slot };
    this.element.classList.toggle("looking", slot !== null);
    this.focusAnew();
    const { hovered, focus, axes } = this;
    if (hovered && focus && axes) this.actions.say(spoken(hovered, focus, axes, this.of.heads, this.chosen, this.pens));
  }

  private toggleTable(): void {
    this.table();
    this.shared.table.setAttribute("aria-pressed", String(this.pages.toggle()));
  }

  private table(): void {
    this.pages.draw(() => {
      const rows = this.of.caches.map((_, i) => this.row(i));
      return dataTableOf(this.scene as Scene, this.axes as Axes, rows, this.of.heads, this.chosen);
    });
  }

  picture(): Picture | null {
    const { axes, scene } = this;
    if (!axes || !scene || !this.of.caches.length) return null;
    const { palette } = scene.ramp;
    return exportSvg({
      title: titleOf(scene),
      ...this.drawing.picture(axes, this.chosen),
      columns: this.focus ? columnsOf(this.focus, axes, scene.state, this.of.heads, this.pens) : { query: "", key: "" },
      pens: this.pens,
      undrawn: this.bar.undrawn.textContent ?? "",
      heads: this.of.heads.map((head, i) => nameOf(this.pens, head, i)),
      colours: {
        ground: palette.ground,
        text: palette.ink,
        muted: getComputedStyle(this.element).getPropertyValue("--muted").trim(),
      },
    });
  }
}

export const headLevel: LevelEntry = {
  name: "head",
  ...levels.head,
  css,
  make: (actions, viewport, source) => new HeadLevel(actions, viewport, source),
};
