/** The last line: z = Σ weight · v on its own scale, and what weights and shares add up to. */

import { h, setText } from "../../base/dom";
import { fixed, percent, precise, symmetric } from "../../base/format";
import { drawStrip, largestIn } from "../../base/scale";
import type { Scene } from "../../scene/scene";
import type { Column, Layout } from "./columns";
import { STRIP_HEIGHT } from "./row";

export class OutputRow {
  readonly element = h("div", { class: "row row-z", role: "row", "data-row": "z" });
  private readonly name = h("b");
  private readonly domain = h("span", { class: "domain" });
  private readonly canvas = h("canvas", { "data-z": true, role: "img", "aria-label": "z, the head's output" });
  private built = "";
  private scene: Scene | null = null;
  private layout: Layout | null = null;

  constructor(say: (text: string) => void) {
    this.canvas.addEventListener("pointermove", (event) => {
      const { scene, layout } = this;
      if (!scene || !layout) return;
      const { perCell, cells, cell, ratio } = layout.value;
      const at = Math.min(cells - 1, Math.max(0, Math.floor((event.offsetX * ratio) / cell)));
      const d = largestIn(scene.chain.z, at * perCell, perCell);
      say(`z · dimension ${d}: ${precise(scene.chain.z[d])} = Σ weight · v over all keys`);
    });
  }

  draw(scene: Scene, layout: Layout): void {
    this.scene = scene;
    this.layout = layout;
    const { chain, zEnd, keys } = scene;
    const key = layout.columns.join();
    if (key !== this.built) this.build(layout);
    this.built = key;
    for (const cell of this.element.querySelectorAll<HTMLElement>("[data-sum]")) {
      const values = cell.dataset.col === "weight" ? chain.weights : chain.share;
      const sum = keys.reduce((total, one) => total + values[one], 0);
      setText(cell.firstElementChild as Element, percent(sum));
      cell.dataset.value = String(sum);
      const wrote = cell.dataset.col === "share" && chain.write !== null ? chain.write : null;
      setText(cell.querySelector(".wrote") as Element, wrote === null ? "" : `of ‖write‖ ${fixed(wrote, 2)}`);
    }
    const some = chain.z.length > 0;
    setText(this.name, some ? (layout.mode === "narrow" ? "z = Σ" : "z = Σ weight · v") : "Σ");
    setText(this.domain, some ? ` the head's output · ${symmetric(zEnd)}` : "");
    this.canvas.hidden = !some;
    if (some) drawStrip(this.canvas, chain.z, layout.value, zEnd, scene.ramp, STRIP_HEIGHT);
  }

  private build(layout: Layout): void {
    // the narrow layout has no column for v: z stands where the strips are, below its name
    const under = layout.columns.includes("v") ? layout.columns.indexOf("v") : 1;
    const cells = layout.columns.map((column: Column, i) => {
      const cell = h("div", { class: `c c-${column}`, role: "gridcell", "data-col": column });
      if (i === 0) cell.append(h("span", { class: "z-name" }, this.name, this.domain));
      if (column === "weight" || column === "share") {
        cell.dataset.sum = "";
        cell.append(h("span", { class: "n" }), h("span", { class: "wrote", "data-wrote": true }));
      }
      if (i === under && column !== "weight") cell.append(this.canvas);
      return cell;
    });
    this.element.replaceChildren(...cells);
  }
}
