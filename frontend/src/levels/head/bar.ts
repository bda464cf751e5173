/** Above the lines: which heads are drawn, how several queries become one, and below which weight nothing is drawn. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { percentInWords } from "../../base/format";
import { MOST, type Pen } from "../../heads/palette";
import { menu } from "../../heads/tools";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { positionOf, thresholdAt } from "./geometry";

const SVG = "http://www.w3.org/2000/svg";

/** A stroke of a head's pen, as its legend. */
function stroke({ colour, dash }: Pen): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("width", "26");
  svg.setAttribute("height", "10");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", "M0 5H26");
  line.style.stroke = colour;
  line.style.strokeWidth = "3";
  if (dash.length) line.setAttribute("stroke-dasharray", dash.join(" "));
  svg.append(line);
  return svg;
}

export class Bar {
  readonly element = h("div", { class: "head-bar" });
  private readonly chips = h("div", {
    class: "chips",
    role: "group",
    "aria-label": "heads that are drawn",
    "data-legend": "heads",
  });
  private readonly add = h("select", { "aria-label": "draw another head over this one", "data-tool": "add-head" });
  private readonly addMenu = h("span", { class: "menu" }, this.add);
  private readonly combine;
  private readonly several = h("span", { class: "several", "data-several": true });
  private readonly slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    "data-tool": "threshold",
    "aria-label": "weights below this are not drawn",
  });
  private readonly sliderText = h("output", { class: "num" });
  readonly undrawn = h("span", { class: "undrawn", "data-undrawn": true });
  private readonly all: HTMLButtonElement;
  private scene: Scene | null = null;
  private built = "";

  constructor(
    private readonly actions: Actions,
    private readonly canHave: (scene: Scene, head: number) => boolean,
  ) {
    this.combine = menu<"mean" | "sum">(
      "how the selected queries become one row",
      "combine",
      [
        ["mean", "their mean"],
        ["sum", "their sum"],
      ],
      (value) => actions.set({ combine: value }),
    );
    this.add.addEventListener("change", () => {
      const head = Number(this.add.value);
      const heads = this.scene?.state.heads ?? [];
      if (this.add.value !== "") actions.set({ heads: [...heads.filter((one) => one !== head), head] });
    });
    this.slider.addEventListener("input", () => actions.set({ threshold: thresholdAt(Number(this.slider.value)) }));
    this.all = button("draw all", { class: "quiet", "data-tool": "all-lines" }, () => actions.set({ threshold: 0 }));
    const clear = button("only one", { class: "quiet", "data-tool": "one-query" }, () => actions.set({ queries: [] }));
    this.several.append(h("span"), this.combine.element, clear);
    this.element.append(
      h("div", { class: "head-bar-side" }, this.chips, this.addMenu, this.several),
      h(
        "div",
        { class: "head-bar-side" },
        h("label", { class: "threshold" }, "draw from", this.slider, this.sliderText),
        this.undrawn,
        this.all,
      ),
    );
  }

  draw(scene: Scene, heads: number[], pens: Pen[], selected: number): void {
    this.scene = scene;
    const { state, site } = scene;
    const mean = state.average !== "none";
    const open = Array.from({ length: site.heads }, (_, i) => i).filter(
      (i) => !heads.includes(i) && this.canHave(scene, i),
    );
    const built = `${site.index} ${heads} ${pens.map(({ colour }) => colour)} ${mean} ${open}`;
    if (built !== this.built) {
      this.built = built;
      this.chips.replaceChildren(
        ...heads.map((head, i) => {
          const chip = h(
            "span",
            { class: "chip", "data-overlay-head": head, "data-colour": pens[i].colour },
            heads.length > 1 && stroke(pens[i]),
            pens[i].name ?? `head ${head}`,
          );
          if (i > 0 && !pens[i].name)
            chip.append(
              button("×", { class: "quiet", "aria-label": `take head ${head} away` }, () =>
                this.actions.set({ heads: (this.scene as Scene).state.heads.filter((one) => one !== head) }),
              ),
            );
          return chip;
        }),
      );
      this.chips.hidden = heads.length < 2;
      const full = heads.length >= MOST;
      this.add.replaceChildren(
        h("option", { value: "" }, full ? `${MOST} heads: more could not be distinguished` : "overlay a head"),
        ...(full ? [] : open.map((head) => h("option", { value: String(head) }, `head ${head}`))),
      );
    }
    this.add.value = "";
    this.addMenu.hidden = mean || scene.pair !== null || site.heads < 2;
    this.several.hidden = selected < 2;
    setText(this.several.firstElementChild as Element, `${selected} queries selected: `);
    this.combine.select.value = state.combine;
    const position = String(positionOf(state.threshold));
    if (this.slider.value !== position) this.slider.value = position;
    const of = scene.without ? " of the rest" : "";
    setText(this.sliderText, state.threshold ? `${percentInWords(state.threshold)}${of}` : "any weight");
    setAttribute(this.slider, "aria-valuetext", this.sliderText.textContent);
  }

  /** `mass`: weight of this row (or these) in lines that are not drawn; `row`: whose; `any`: some are drawn. */
  say(mass: number, lines: number, row: string, any: boolean): void {
    this.all.hidden = lines === 0 || !this.scene?.state.threshold;
    setText(
      this.undrawn,
      lines
        ? `${any ? "not drawn" : "no line is that thick; not drawn"}: ${percentInWords(mass)} of ${row}, in ${lines} ${lines === 1 ? "line" : "lines"}`
        : "every line is drawn",
    );
    this.undrawn.dataset.value = String(mass);
  }
}
