/** Light or dark: the reader's choice, else the notebook's, else the system's. */
import { type Palette, Ramp } from "../base/scale";
import type { Theme } from "../base/state";

const dark = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;

/** Notebooks mark their own theme on the body; it need not be the system's. */
function notebookTheme(): "light" | "dark" | null {
  const { classList, dataset } = document.body;
  if (dataset.jpThemeLight) return dataset.jpThemeLight === "true" ? "light" : "dark";
  if (classList.contains("vscode-dark") || classList.contains("vscode-high-contrast")) return "dark";
  if (classList.contains("vscode-light")) return "light";
  return null;
}

export function resolve(theme: Theme): "light" | "dark" {
  return theme === "auto" ? (notebookTheme() ?? (dark?.matches ? "dark" : "light")) : theme;
}

export function onThemeChange(listener: () => void): () => void {
  dark?.addEventListener("change", listener);
  const observer = new MutationObserver(listener);
  observer.observe(document.body, { attributes: true, attributeFilter: ["class", "data-jp-theme-light"] });
  return () => {
    dark?.removeEventListener("change", listener);
    observer.disconnect();
  };
}

/** generated/colours.json owns the colours; the canvas reads them from its rules, since a computed style costs a layout. */
export function rampOf(scope: HTMLElement): Ramp {
  const [colours] = (scope.getRootNode() as ShadowRoot).adoptedStyleSheets;
  const rules = [...colours.cssRules].filter((rule) => rule instanceof CSSStyleRule);
  const own = rules.filter((rule) => scope.matches(rule.selectorText));
  // the rule of a theme stands below the one for all
  const read = (name: string) =>
    own.reduce((value, { style }) => style.getPropertyValue(`--${name}`).trim() || value, "");
  const palette: Palette = {
    negative: read("negative"),
    zero: read("zero"),
    positive: read("positive"),
    ink: read("text"),
    ground: read("ground"),
  };
  return new Ramp(palette);
}
