/** The line in which words of a text are looked for. Enter goes to a place where they stand, Escape closes it. */

import { button, h, setText } from "../../base/dom";
import type { Label } from "../../scene/labels";
import { type Occurrence, occurrences } from "../../scene/occurrences";

export interface FindHost {
  labels(): readonly Label[];
  /** The token from which the search goes on. */
  from(): number;
  /** What was found, and which of it is looked at (−1: none). */
  mark(found: Occurrence[], current: number): void;
  pick(token: number): void;
  /** The keyboard goes back to the text. */
  leave(): void;
}

export class Find {
  readonly element: HTMLElement;
  readonly opener: HTMLButtonElement;
  private readonly input: HTMLInputElement;
  private readonly status = h("span", { class: "num", role: "status", "data-found": true });
  private found: Occurrence[] = [];
  private current = -1;
  private picked = false;

  constructor(
    private readonly host: FindHost,
    what: string,
  ) {
    this.input = h("input", {
      type: "text",
      class: "find-words",
      "aria-label": `words to find in ${what}`,
      placeholder: "find words",
      autocomplete: "off",
      spellcheck: "false",
      "data-find": true,
    });
    const step = (name: string, label: string, by: 1 | -1) =>
      button(name, { class: "quiet", "aria-label": label, "data-find-step": by }, () => this.go(by));
    this.element = h(
      "div",
      { class: "find", role: "search" },
      this.input,
      step("‹", "the one before", -1),
      step("›", "the next one", 1),
      this.status,
      button("×", { class: "quiet", "aria-label": "close the search" }, () => this.close()),
    );
    this.element.hidden = true;
    const keys = { class: "quiet find-open", "aria-keyshortcuts": "/", "data-find-open": true };
    this.opener = button("find", { ...keys, "aria-label": `find words in ${what}` }, () => this.open());
    this.input.addEventListener("input", () => this.look());
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  open(): void {
    this.element.hidden = false;
    this.opener.hidden = true;
    this.input.focus({ preventScroll: true });
    this.input.select();
    this.look();
  }

  /** True when it was open. */
  close(): boolean {
    if (this.element.hidden) return false;
    const inside = this.element.contains((this.element.getRootNode() as Document | ShadowRoot).activeElement);
    this.element.hidden = true;
    this.opener.hidden = false;
    this.host.mark([], -1);
    if (inside) this.host.leave();
    return true;
  }

  /** The text is another one. */
  renew(): void {
    if (!this.element.hidden) this.look();
  }

  private look(): void {
    this.found = occurrences(this.host.labels(), this.input.value);
    const from = this.host.from();
    const next = this.found.findIndex(({ first }) => first >= from);
    this.current = this.found.length ? Math.max(0, next) : -1;
    this.picked = false;
    this.show();
  }

  /** The first step picks what is looked at; the next ones go on from there. */
  private go(by: 1 | -1): void {
    const { length } = this.found;
    if (!length) return;
    if (this.picked) this.current = (this.current + by + length) % length;
    this.picked = true;
    this.show();
    this.host.pick(this.found[this.current].first);
  }

  private show(): void {
    const { found, current } = this;
    const nothing = this.input.value.trim() ? "not found" : "";
    setText(this.status, found.length ? `${current + 1} of ${found.length}` : nothing);
    this.host.mark(found, current);
  }

  private key(event: KeyboardEvent): void {
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && event.target === this.input) this.go(event.shiftKey ? -1 : 1);
    else return;
    event.preventDefault();
  }
}
