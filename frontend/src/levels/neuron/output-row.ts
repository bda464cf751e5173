/** The last line: z = Σ weight · v on its own scale, and what weights and shares add up to. */

import { h, setText } from "../../base/dom";
import { fixed, percent, precise, symmetric } from "../../base/format";
import { drawStrip, largestIn } from "../../base/scale";
import type { Scene } from "../../scene/scene";
import type { Column, Layout } from "./columns";
import { STRIP_HEIGHT } from "./row";

export class OutputRow {
  readonly element = h("div", { class: "row row-z", role: "row", "data-row": "z" });
  private readonly name = h("b", { class: "z-name" });
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
      const room = cell.dataset.col === "share" && layout.mode !== "narrow";
      const wrote = room ? chain.write : null;
      setText(cell.querySelector(".wrote") as Element, wrote === null ? "" : `of ‖write‖ ${fixed(wrote, 2)}`);
    }
    // a vector like v: it stands below it, and is folded away with it
    const some = chain.z.length > 0 && layout.columns.includes("v");
    setText(this.name, some ? (layout.mode === "narrow" ? "z = Σ" : "z = Σ weight · v") : "Σ");
    setText(this.domain, some ? `z, the head's output · ${symmetric(zEnd)}` : "");
    if (some) drawStrip(this.canvas, chain.z, layout.value, zEnd, scene.ramp, STRIP_HEIGHT);
  }

  private build({ columns }: Layout): void {
    const cells: HTMLElement[] = [];
    const sums = Math.max(columns.indexOf("weight"), columns.indexOf("share"));
    columns.forEach((column: Column, i) => {
      const between = i > sums && column !== "v";
      if (between && i > sums + 1) return; // one cell across all that z has nothing for
      const cell = h("div", { class: `c c-${column}`, role: "gridcell", "data-col": column });
      if (i === 0) cell.append(this.name);
      if (column === "weight" || column === "share") {
        cell.dataset.sum = "";
        cell.append(h("span", { class: "n" }), h("span", { class: "wrote", "data-wrote": true }));
      }
      if (column === "v") cell.append(this.canvas);
      if (between) {
        cell.className = "c z-domain";
        cell.style.gridColumn = `${i + 1} / ${columns.includes("v") ? columns.indexOf("v") + 1 : -1}`;
        cell.append(this.domain);
      }
      cells.push(cell);
    });
    this.element.replaceChildren(...cells);
  }
}
