/** The bar on top: the breadcrumb and the page's tools, then the levels and the tools of the one that is shown. */
import { h } from "../../base/dom";
import type { Options } from "../view";
import type { Crumbs } from "./crumbs";
import type { Switch } from "./switch";
import type { Tools } from "./tools";

export function masthead(
  { fit, sides }: Options,
  parts: { crumbs: Crumbs; tools: Tools; switch: Switch },
): HTMLElement {
  const { crumbs, tools } = parts;
  // a page of its own has a title; a cell stands under those of its notebook
  const mark = h(fit === "page" ? "h1" : "span", { class: "mark" }, "attnscope");
  const second = h("div", { class: "second" }, sides?.element, parts.switch.element, tools.element);
  return h("header", { class: "masthead" }, mark, crumbs.element, tools.page, crumbs.about, second);
}
