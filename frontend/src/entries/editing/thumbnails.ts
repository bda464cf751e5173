/** Over the thumbnails of the model level: marks on the heads with edits, and a switch on the one that is looked at. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { editText, type HeadEdit, isOf, ofHead } from "../../base/head-edit";
import type { HeadEdits, HeadName, HeadPlace } from "../../scene/level";

const SWITCH_FROM = 40; // pixels of a thumbnail that can still be opened beside the switch
const SWITCH = 28; // pixels of the switch
const MARKS = { off: "off", times: "scaled", cut: "cut", weights: "weight", patch: "patch" };

export class Thumbnails implements HeadEdits {
  readonly element = h("div", { class: "edits-thumbs" });
  readonly button: HTMLButtonElement;
  private readonly marks = h("div", { "aria-hidden": "true" });
  private readonly switch: HTMLButtonElement;
  private edits: HeadEdit[] = [];
  private places: HeadPlace[] = [];
  private size = 0;
  private looked: HeadPlace | null = null;
  private shown: HeadName | null = null;

  constructor(private readonly toggled: (edit: HeadEdit) => void) {
    // for the pointer; keys have Space
    this.switch = button("", { class: "edits-switch", tabindex: -1, "data-switch": true }, () =>
      this.toggle(this.looked),
    );
    this.button = button("", { class: "choice", "data-edit": "head" }, () => this.toggle(this.shown));
    this.element.append(this.marks, this.switch);
    this.look(null);
  }

  lay(places: HeadPlace[], size: number): void {
    [this.places, this.size] = [places, size];
    this.look(null);
    this.draw(this.edits);
  }

  draw(edits: HeadEdit[]): void {
    this.edits = edits;
    this.marks.replaceChildren(
      ...this.places.flatMap((place) => {
        const own = this.of(place);
        if (!own.length) return [];
        const said = this.size < SWITCH_FROM ? "" : own.map(({ verb }) => MARKS[verb]).join(", ");
        const off = own.some(({ verb }) => verb === "off") ? "off" : own[0].verb;
        const mark = h("span", { class: "edits-mark", "data-edited": off, "data-head": place.head }, said);
        this.put(mark, place);
        return [mark];
      }),
    );
    this.tell();
  }

  look(place: HeadPlace | null): void {
    this.looked = place;
    this.switch.hidden = !place || this.size < SWITCH_FROM;
    if (place) this.put(this.switch, { ...place, x: place.x + this.size - SWITCH });
    this.tell();
  }

  shows(head: HeadName): void {
    this.shown = head;
    this.tell();
  }

  toggle(head: HeadName | null): void {
    if (head) this.toggled(ofHead("off", head.stack, head.layer, head.head));
  }

  said(head: HeadName): string {
    return this.of(head)
      .map(({ verb }) => `, ${MARKS[verb]}`)
      .join("");
  }

  private of({ stack, layer, head }: HeadName): HeadEdit[] {
    return this.edits.filter((edit) => isOf(edit, stack, layer, head));
  }

  private put({ style }: HTMLElement, { x, y }: HeadPlace): void {
    style.transform = `translate(${x}px, ${y}px)`;
    style.setProperty("--thumb", `${this.size}px`);
  }

  private tell(): void {
    const off = ({ stack, layer, head }: HeadName) =>
      this.edits.some((one) => editText(one) === editText(ofHead("off", stack, layer, head)));
    if (this.looked) setText(this.switch, off(this.looked) ? "on" : "off");
    if (this.looked) setAttribute(this.switch, "aria-label", `switch ${off(this.looked) ? "on" : "off"}`);
    if (this.shown) setText(this.button, `switch ${off(this.shown) ? "on" : "off"}`);
  }
}
