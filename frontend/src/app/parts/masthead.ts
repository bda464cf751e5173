/**
 * The bar on top, two rows at any width: where one is and the page's tools, then the levels and the tools of the one that
 * is shown. What has no room there waits behind a button.
 */
import { button, h, setAttribute } from "../../base/dom";
import { EdgeCue } from "../../base/edge-cue";
import type { Options } from "../view";
import type { Crumbs } from "./crumbs";
import type { Switch } from "./switch";
import type { Tools } from "./tools";

const SMALL = 600; // pixels: in a slimmer bar the page's tools lie in the drawer too

export class Masthead {
  readonly element: HTMLElement;
  private readonly drawer: HTMLElement;
  private readonly more: HTMLButtonElement;
  private readonly cue: EdgeCue;
  private readonly sizes = new ResizeObserver(() => this.arrange());

  constructor(
    { fit, sides }: Options,
    private readonly parts: { crumbs: Crumbs; tools: Tools; switch: Switch },
  ) {
    const { crumbs, tools } = parts;
    // a page of its own has a title; a cell stands under those of its notebook
    const mark = h(fit === "page" ? "h1" : "span", { class: "mark" }, "attnscope");
    const levels = h("div", { class: "ways" }, sides?.element, parts.switch.element);
    this.cue = new EdgeCue(levels);
    this.drawer = h("div", { class: "drawer", id: "drawer" }, tools.element);
    const closed = {
      class: "tool more-tools",
      "aria-expanded": "false",
      "aria-controls": "drawer",
      "data-more-tools": true,
    };
    this.more = button("tools ▾", closed, () => this.open(!this.isOpen));
    this.element = h(
      "header",
      { class: "masthead" },
      mark,
      crumbs.element,
      tools.page,
      h("i", { class: "line-end" }),
      levels,
      this.more,
      this.drawer,
      crumbs.about,
    );
    this.sizes.observe(this.element);
    // a button does its work where the drawer would lie over it; menus and ticks may be several
    this.drawer.addEventListener("click", (event) => {
      if ((event.target as Element).closest("button")) this.open(false);
    });
  }

  /** True when the drawer was open. */
  close(): boolean {
    if (!this.isOpen) return false;
    if (this.drawer.matches(":focus-within")) this.more.focus({ preventScroll: true });
    this.open(false);
    return true;
  }

  /** A press elsewhere closes it. */
  pressed(event: Event): void {
    const path = event.composedPath();
    if (!path.includes(this.drawer) && !path.includes(this.more)) this.open(false);
  }

  destroy(): void {
    this.cue.destroy();
    this.sizes.disconnect();
  }

  private arrange(): void {
    const { page } = this.parts.tools;
    const small = this.element.clientWidth <= SMALL;
    if (small === (page.parentElement === this.drawer)) return;
    if (small) this.drawer.append(page);
    else this.parts.crumbs.element.after(page);
  }

  private get isOpen(): boolean {
    return this.more.getAttribute("aria-expanded") === "true";
  }

  private open(open: boolean): void {
    this.more.setAttribute("aria-expanded", String(open));
    setAttribute(this.drawer, "data-open", open ? "" : null);
  }
}
