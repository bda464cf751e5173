/** A shadow root with our own styles: nothing of the host reaches in, nothing of ours leaks out. */

import { h } from "../base/dom";
import { page } from "../generated/colours.json";
import headTable from "../heads/data-table.css";
import headNotes from "../heads/notes.css";
import pair from "../heads/pair.css";
import exportPanels from "./export/export-panels.css";
import { REGISTRY } from "./level-registry";
import crumbs from "./parts/crumbs.css";
import foot from "./parts/foot.css";
import help from "./parts/help.css";
import masthead from "./parts/masthead.css";
import notices from "./parts/notices.css";
import pairTexts from "./parts/pair-texts.css";
import panels from "./parts/panels.css";
import pictures from "./parts/pictures.css";
import receipt from "./parts/receipt.css";
import ribbon from "./parts/ribbon.css";
import sentenceBar from "./parts/sentence-bar.css";
import skips from "./parts/skips.css";
import sounds from "./parts/sounds.css";
import levelSwitch from "./parts/switch.css";
import timeline from "./parts/timeline.css";
import tip from "./parts/tip.css";
import tools from "./parts/tools.css";
import frame from "./style.css";
import { resolve } from "./theme";

const PARTS = [
  skips,
  masthead,
  crumbs,
  tools,
  levelSwitch,
  panels,
  exportPanels,
  help,
  pairTexts,
  sentenceBar,
  ribbon,
  timeline,
  pictures,
  sounds,
  notices,
  receipt,
  foot,
  tip,
];
const SHARED = [headTable, headNotes];

/** Three jobs of colour that never share a hue: sign (blue, orange), weight (ink), selection (outline in text colour). */
const colours = Object.entries(page)
  .map(([theme, names]) => {
    const lines = Object.entries(names).map(([name, colour]) => `--${name}:${colour};`);
    const scope = theme === "light" ? ".scope" : `.scope[data-theme="${theme}"]`;
    return `${scope}{${lines.join("")}color-scheme:${theme}}`;
  })
  .join("\n");

/** The colours, which theme.ts reads too; then the frame, its parts, what levels share, and each level. */
const STYLES = [colours, [frame, ...PARTS, ...SHARED, ...REGISTRY.map((level) => level.css), pair].join("\n")];
let sheets: CSSStyleSheet[] | null = null;

/** `more`: styles of a part that only some views have. */
export function shadow(root: HTMLElement, more = ""): ShadowRoot {
  const inside = root.shadowRoot ?? root.attachShadow({ mode: "open" });
  sheets ??= STYLES.map(sheetOf);
  inside.adoptedStyleSheets = more ? [...sheets, sheetOf(more)] : sheets;
  inside.replaceChildren();
  return inside;
}

function sheetOf(text: string): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  return sheet;
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
