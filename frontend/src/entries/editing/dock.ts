/** Edits of a live view: which are on, at every level; what they do to the predictions; undo, redo, reset. */

import type { Dock, DockHost, DockMemory, EditHistory } from "../../app/view";
import { button, h, setAttribute, setText } from "../../base/dom";
import { editSaid, type HeadEdit, parseEdit, toggled } from "../../base/head-edit";
import { editLines } from "../../scene/edits-as-python";
import { inLine } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { Asking } from "./asking";
import { Controls } from "./controls";
import css from "./edits.css";
import { Result } from "./result";
import { Thumbnails } from "./thumbnails";
import { Undo } from "./undo";

class EditDock implements Dock {
  readonly css = css;
  readonly element: HTMLElement;
  readonly opener: HTMLButtonElement;
  private readonly chips = h("span", { class: "edits-chips", role: "group", "aria-label": "edits that are on" });
  private readonly brief = h("span", { class: "edits-brief", "data-brief": true });
  private readonly undone: HTMLButtonElement;
  private readonly redone: HTMLButtonElement;
  private readonly reset: HTMLButtonElement;
  private readonly more: HTMLButtonElement;
  private readonly body: HTMLElement;
  private readonly wrong = h("p", { class: "edits-wrong", role: "alert", "data-edits-wrong": true });
  readonly editLines = editLines;
  readonly heads: Thumbnails;
  private readonly controls: Controls;
  private readonly result = new Result();
  private readonly asking: Asking;
  private readonly memory: DockMemory;
  private undo: Undo | null = null;
  private scene: Scene | null = null;
  private drags = false;
  private asked = "";

  constructor(private readonly host: DockHost) {
    const { ask, side, memory } = host;
    this.memory = memory;
    this.controls = new Controls({ set: (edits, drag) => this.set(edits, drag) }, side && (side === "b" ? "A" : "B"));
    this.heads = new Thumbnails((edit) => this.set(toggled((this.scene as Scene).state.edits, edit)));
    this.asking = new Asking(ask, {
      answered: (answer, fresh) => {
        this.fail("");
        this.result.show(answer, (position) => this.token(position));
        this.element.setAttribute("aria-busy", String(!fresh));
        this.sum();
      },
      band: (band) => this.result.band(band),
      failed: (message) => this.fail(message),
    });
    this.opener = button(
      "edit",
      { class: "tool", "aria-expanded": "false", "aria-label": "edit heads", "data-tool": "edit" },
      () => this.show(!this.memory.open),
    );
    this.undone = button("undo", { class: "choice", "data-edit": "undo" }, () => this.step(-1));
    this.redone = button("redo", { class: "choice", "data-edit": "redo" }, () => this.step(1));
    this.reset = button("reset", { class: "choice", "data-edit": "reset" }, () => this.set([]));
    this.more = button("", { class: "quiet", "data-edit": "more" }, () => this.show(!this.memory.open));
    const tools = h("span", { class: "edits-tools" }, this.undone, this.redone, this.reset, this.more);
    this.body = h("div", { class: "edits-body" }, this.controls.element, this.result.element);
    this.element = h(
      "section",
      { class: "edits", "aria-label": "edits", "data-edits": true },
      h("div", { class: "edits-line" }, this.chips, this.brief, tools),
      this.wrong,
      this.body,
    );
    this.wrong.hidden = true;
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const { edits, target, against } = scene.state;
    this.undo ??= new Undo(this.historyOf(edits));
    this.undo.see(edits, this.drags);
    this.drags = false;
    if (this.memory.open) this.controls.draw(scene);
    const asked = `${edits} ${target} ${against}`;
    if (asked !== this.asked && (this.asked || edits.length || this.memory.open)) {
      this.asked = asked;
      this.element.setAttribute("aria-busy", "true");
      this.asking.ask({ edits, target, against });
    }
    this.lay();
  }

  private historyOf(edits: string[]): EditHistory {
    const { histories } = this.memory;
    const side = this.host.side === "b" ? "b" : "a";
    histories[side] ??= { past: [edits], at: 0 };
    return histories[side];
  }

  destroy(): void {
    this.asking.destroy();
  }

  /** What stands in the line, and whether it is there at all. */
  private lay(): void {
    const { state } = this.scene as Scene;
    this.element.hidden = !this.memory.open && !state.edits.length;
    this.body.hidden = !this.memory.open;
    setAttribute(this.opener, "aria-expanded", String(this.memory.open));
    setAttribute(this.opener, "aria-pressed", String(state.edits.length > 0));
    setText(this.more, this.memory.open ? "hide \u25be" : "show \u25b4");
    setAttribute(this.more, "aria-expanded", String(this.memory.open));
    this.undone.disabled = !this.undo?.peek(-1);
    this.redone.disabled = !this.undo?.peek(1);
    this.reset.disabled = !state.edits.length;
    const shown = state.edits.join();
    if (this.chips.dataset.shown !== shown) {
      this.chips.dataset.shown = shown;
      this.heads.draw(state.edits.map((one) => parseEdit(one) as HeadEdit));
      this.chips.replaceChildren(...(state.edits.length ? state.edits.map((one) => this.chip(one)) : ["no edits yet"]));
    }
    this.sum();
  }

  private chip(text: string): HTMLElement {
    const said = editSaid(parseEdit(text) as HeadEdit, (position) => this.token(position));
    const away = button("\u00d7", { class: "quiet", "aria-label": `take away: ${said}` }, () =>
      this.set((this.scene as Scene).state.edits.filter((one) => one !== text)),
    );
    return h("span", { class: "edits-chip", "data-edit-on": text }, h("bdi", {}, said), away);
  }

  private sum(): void {
    setText(this.brief, this.result.brief);
  }

  private token(position: number): string {
    const { queryLabels, pair } = this.scene as Scene;
    return !pair && queryLabels[position] ? inLine(queryLabels[position]) : String(position);
  }

  private set(edits: string[], drag = false): void {
    this.drags = drag;
    this.host.set({ edits });
  }

  private step(by: -1 | 1): void {
    const edits = this.undo?.go(by);
    if (edits) this.host.set({ edits });
  }

  private show(open: boolean): void {
    this.memory.open = open;
    if (this.scene) this.draw(this.scene);
    if (!open && this.element.hidden) this.opener.focus({ preventScroll: true });
  }

  private fail(message: string): void {
    setText(
      this.wrong,
      message.replace(/^./, (first) => first.toUpperCase()),
    );
    this.wrong.hidden = !message;
    if (message) this.element.setAttribute("aria-busy", "false");
  }
}

export const makeDock = (host: DockHost): Dock => new EditDock(host);
