/** One bubble that shows what an element explains: under a mouse, on focus, on a tap. */

import { h, setAttribute } from "../../base/dom";
import { EXPLAINED, explanationOf } from "../../base/explained";

const GAP = 6; // pixels between the bubble and its element
const REST = 300; // milliseconds that a mouse rests before it asks
let made = 0;

export class Tip {
  /** Takes no room: what is below stays where it is. */
  readonly element = h("div", { class: "tips" });
  private readonly bubble = h("p", { class: "tip", role: "tooltip", id: `tip${++made}`, "data-tip": true });
  private of: HTMLElement | null = null;
  /** The kind of pointer that pressed last, while the focus that this press gives may still come. */
  private pressed = "";
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly scope: HTMLElement) {
    this.bubble.hidden = true;
    this.element.append(this.bubble);
    scope.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "mouse" || event.buttons) return;
      const target = this.targetOf(event);
      clearTimeout(this.timer);
      if (target) this.timer = setTimeout(() => this.show(target), REST);
      else if (!this.of?.matches(":focus-visible")) this.close();
    });
    scope.addEventListener("pointerleave", () => this.close());
    scope.addEventListener("pointerdown", (event) => {
      this.pressed = event.pointerType;
      this.close();
    });
    scope.addEventListener("keydown", () => {
      this.pressed = "";
    });
    scope.addEventListener("click", (event) => {
      const target = this.targetOf(event);
      // what opens its explanation itself needs no second one
      if (target && this.pressed && this.pressed !== "mouse" && !target.hasAttribute("aria-expanded"))
        this.show(target);
      this.pressed = "";
    });
    scope.addEventListener("focusin", (event) => {
      const target = this.targetOf(event);
      if (target && !this.pressed) this.show(target);
    });
    scope.addEventListener("focusout", () => this.close());
    scope.addEventListener("scroll", () => this.close(), { passive: true, capture: true });
  }

  /** True when it was open. */
  close(): boolean {
    clearTimeout(this.timer);
    if (!this.of) return false;
    setAttribute(this.of, "aria-describedby", null);
    this.of = null;
    this.bubble.hidden = true;
    return true;
  }

  private targetOf(event: Event): HTMLElement | null {
    return (event.target as Element).closest<HTMLElement>(EXPLAINED);
  }

  private show(target: HTMLElement): void {
    const words = explanationOf(target);
    if (target === this.of || !words) return;
    this.close();
    this.of = target;
    this.bubble.textContent = words;
    setAttribute(target, "aria-describedby", this.bubble.id);
    this.bubble.hidden = false;
    this.place(target.getBoundingClientRect());
  }

  /** Below its element, or above it where that is nearer the edge; never out of sight sideways. */
  private place(at: DOMRect): void {
    const { style, offsetWidth, offsetHeight } = this.bubble;
    const origin = this.element.getBoundingClientRect();
    const room = this.scope.getBoundingClientRect();
    const bottom = Math.min(room.bottom, innerHeight);
    const below = at.bottom + GAP;
    const top = below + offsetHeight > bottom ? at.top - GAP - offsetHeight : below;
    const left = Math.max(room.left + GAP, Math.min(at.left, room.right - GAP - offsetWidth));
    style.left = `${left - origin.left}px`;
    style.top = `${top - origin.top}px`;
  }
}
