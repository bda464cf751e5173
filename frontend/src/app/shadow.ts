/** A shadow root with our own styles: nothing of the host reaches in, nothing of ours leaks out. */

import { h } from "../base/dom";
import colours from "./colours.css";
import { REGISTRY } from "./level-registry";
import css from "./style.css";
import { resolve } from "./theme";

/** The colours, which theme.ts reads too; the frame's style, and one of each level. */
const STYLES = [colours, [css, ...REGISTRY.map((level) => level.css)].join("\n")];
let sheets: CSSStyleSheet[] | null = null;

export function shadow(root: HTMLElement): ShadowRoot {
  const inside = root.shadowRoot ?? root.attachShadow({ mode: "open" });
  sheets ??= STYLES.map((text) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    return sheet;
  });
  inside.adoptedStyleSheets = sheets;
  inside.replaceChildren();
  return inside;
}

/** Where nothing can be drawn: say why, in place of the view. */
export function fail(root: HTMLElement, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  const alert = h(
    "div",
    { role: "alert", class: "alert", "data-alert": true },
    h("b", {}, "This view cannot be drawn. "),
    message,
  );
  shadow(root).append(h("div", { class: "scope failed", "data-theme": resolve("auto") }, alert));
  delete root.dataset.ready;
  root.dataset.failed = "";
}
