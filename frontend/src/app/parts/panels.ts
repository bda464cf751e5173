/** Panels that lie over the view for a while: not modal, one at a time, closed by Escape, by their button or by their ×. */
import { button, h } from "../../base/dom";

export interface Panel {
  readonly name: string;
  readonly opener: HTMLButtonElement;
  /** What is in it, made anew each time it opens. */
  content(): HTMLElement[];
}

export class Panels {
  /** Takes no room: what is below stays where it is. */
  readonly element = h("div", { class: "panels" });
  private readonly sheet = h("section", { class: "panel", tabindex: 0, "data-panel": true });
  private shown: Panel | null = null;

  constructor() {
    this.sheet.hidden = true;
    this.element.append(this.sheet);
  }

  /** The button that opens a panel, and closes it. */
  opener(
    text: string,
    name: string,
    attributes: Record<string, string>,
    content: () => HTMLElement[],
  ): HTMLButtonElement {
    const opener = button(text, { class: "tool", "aria-expanded": "false", "aria-label": name, ...attributes }, () =>
      this.shown === panel ? this.close() : this.open(panel),
    );
    const panel: Panel = { name, opener, content };
    return opener;
  }

  private open(panel: Panel): void {
    this.shown?.opener.setAttribute("aria-expanded", "false");
    this.shown = panel;
    panel.opener.setAttribute("aria-expanded", "true");
    this.sheet.setAttribute("aria-label", panel.name);
    this.sheet.dataset.panel = panel.name;
    const close = button("×", { class: "quiet panel-close", "aria-label": `close ${panel.name}` }, () => this.close());
    this.sheet.replaceChildren(close, ...panel.content());
    this.sheet.hidden = false;
    this.sheet.scrollTop = 0;
    this.sheet.focus({ preventScroll: true });
  }

  /** True when one was open. */
  close(): boolean {
    const panel = this.shown;
    if (!panel) return false;
    this.shown = null;
    const inside = this.sheet.matches(":focus-within");
    this.sheet.hidden = true;
    panel.opener.setAttribute("aria-expanded", "false");
    if (inside) panel.opener.focus({ preventScroll: true });
    return true;
  }
}
