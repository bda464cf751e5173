/** B − A of one query and key: the chain of both, number beside number, and q · k dimension by dimension. */

import { h, setText } from "../../base/dom";
import { change, fixed, percent } from "../../base/format";
import { maskedAt, type SideOf } from "../../chain/difference";
import { named } from "../../scene/labels";
import type { Actions, Legend, Level, Picture } from "../../scene/level";
import { exportPair } from "../../scene/pair-export-svg";
import type { Scene } from "../../scene/scene";
import { scalingName } from "../../scene/text";

interface Step {
  id: string;
  name: string;
  /** null: this side does not have it. */
  a: number | null;
  b: number | null;
  part: boolean;
}

const written = (value: number | null, part: boolean, masked = false) =>
  masked ? "masked" : value === null ? "–" : part ? percent(value) : fixed(value, 3);
const between = ({ a, b }: { a: number | null; b: number | null }) => (a === null || b === null ? null : b - a);

export class PairSteps implements Level {
  readonly name = "steps";
  readonly element = h("div", { class: "pair-level", "data-level": "steps" });
  readonly tools: HTMLElement[] = [];
  readonly keys = "Tab to the tables";
  private readonly title = h("p", { class: "steps-title" });
  private readonly chain = h("div", {
    class: "pair-scroll",
    tabindex: 0,
    role: "group",
    "aria-label": "the chain in A and in B",
  });
  private readonly dims = h("div", {
    class: "pair-scroll",
    tabindex: 0,
    role: "group",
    "aria-label": "q · k, dimension by dimension",
  });
  private scene: Scene | null = null;

  constructor(private readonly actions: Actions) {
    this.element.append(this.title, this.chain, this.dims);
    this.element.addEventListener("pointerover", (event) => {
      const cell = (event.target as Element).closest<HTMLElement>("td[data-value]");
      if (cell) this.actions.say(`${cell.getAttribute("aria-label") ?? cell.dataset.col}: ${cell.dataset.value}`);
    });
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const { pair } = scene;
    if (!pair) return;
    const { key, keyLabels, query, queryLabels, pinned } = scene;
    const where = (side: SideOf) =>
      `in ${side.name} query ${side.query < 0 ? "none" : side.query} and key ${side.keys[key] ?? "none"}`;
    setText(
      this.title,
      `Query ${named(queryLabels[query])}, ${pinned ? "key" : "the key that changed most,"} ${named(keyLabels[key])}: ${where(pair.a)}, ${where(pair.b)}. A and B, each on its own side, write the whole chain out.`,
    );
    this.chain.replaceChildren(this.stepsTable(this.steps(scene)));
    const table = this.dimsTable(scene);
    this.dims.hidden = !table;
    if (table) this.dims.replaceChildren(table);
  }

  legends(): Legend[] {
    return [];
  }

  look(): void {}
  arrive(): void {}
  close(): boolean {
    return false;
  }

  picture(): Picture | null {
    const { scene } = this;
    if (!scene?.pair) return null;
    const rows = this.steps(scene).map((step) => ({
      token: step.name,
      cells: [this.cell(step, "a"), this.cell(step, "b"), this.difference(step)],
      part: null,
    }));
    return exportPair(scene, ["step", "A", "B", "B − A"], rows);
  }

  destroy(): void {}

  private steps(scene: Scene): Step[] {
    const { pair, key } = scene;
    if (!pair) return [];
    // `whole`: a number of the query alone, which is there where the key is not
    const of = (side: SideOf, values: (side: SideOf, at: number) => number | null | undefined, whole: boolean) => {
      const at = side.keys[key];
      return !side.chain || (at === null && !whole) ? null : (values(side, at ?? -1) ?? null);
    };
    const step = (
      id: string,
      name: string,
      part: boolean,
      values: (side: SideOf, at: number) => number | null | undefined,
      whole = false,
    ) => ({
      id,
      name,
      part,
      a: of(pair.a, values, whole),
      b: of(pair.b, values, whole),
    });
    const capped = [pair.a, pair.b].some(({ tensors }) => tensors.site.softcap !== null);
    const biased = [pair.a, pair.b].some(({ chain }) => chain?.bias);
    const output = pair.a.tensors.site.norms === "output" ? "‖v · W_O‖" : "‖v‖";
    const scaling = scalingName(pair.a.tensors.site);
    const names = scene.meta.step_names ?? {};
    const [symbol, title] = [1, 2].map((at) => (id: string) => names[id]?.[at] ?? id);
    return [
      step("dot", symbol("dot"), false, ({ chain }, at) => chain?.dot?.[at]),
      step("scaled", `${symbol("scaled")}: ${scaling}`, false, ({ chain }, at) => chain?.scaled?.[at]),
      ...(capped ? [step("capped", symbol("capped"), false, ({ chain }, at) => chain?.capped?.[at])] : []),
      ...(biased ? [step("bias", title("biased"), false, ({ chain }, at) => chain?.bias?.[at])] : []),
      step("score", symbol("masked"), false, ({ chain }, at) => chain?.biased?.[at]),
      step("weight", symbol("weights"), true, ({ chain }, at) => chain?.weights[at]),
      step("norm", output, false, ({ tensors }, at) => (tensors.v.length ? tensors.norms[at] : null)),
      step("share", "share of output", true, ({ chain, tensors }, at) => (tensors.v.length ? chain?.share[at] : null)),
      step(
        "output",
        "‖z‖, the output of the head",
        false,
        ({ chain, tensors }) => (tensors.v.length && chain ? Math.hypot(...chain.z) : null),
        true,
      ),
    ];
  }

  private cell(step: Step, side: "a" | "b"): string {
    const { pair, key } = this.scene as Scene;
    const masked = step.id === "weight" && pair !== null && maskedAt(pair[side], key);
    return written(step[side], step.part, masked);
  }

  private difference(step: Step): string {
    const value = between(step);
    return value === null ? "–" : step.part ? change(value) : `${value > 0 ? "+" : ""}${written(value, false)}`;
  }

  private stepsTable(steps: Step[]): HTMLElement {
    const body = h("tbody");
    for (const step of steps) {
      const cell = (column: "a" | "b" | "difference", text: string, value: number | null) =>
        h("td", { "data-col": column, "data-value": value, "aria-label": `${step.name}, ${column}` }, text);
      body.append(
        h(
          "tr",
          { "data-pair-step": step.id },
          h("th", { scope: "row" }, step.name),
          cell("a", this.cell(step, "a"), step.a),
          cell("b", this.cell(step, "b"), step.b),
          cell("difference", this.difference(step), between(step)),
        ),
      );
    }
    return table("The chain from q · k to the output", ["step", "A", "B", "B − A"], body);
  }

  private dimsTable({ pair, key }: Scene): HTMLElement | null {
    if (!pair?.a.chain || !pair.b.chain) return null;
    const sides = [pair.a, pair.b];
    if (sides.some(({ tensors, keys }) => tensors.q.length === 0 || keys[key] === null)) return null;
    const vectors = sides.map(({ tensors, keys, row }) => ({
      q: tensors.query(row),
      k: tensors.key(keys[key] as number),
    }));
    const [a, b] = vectors;
    if (a.q.length !== b.q.length) return null;
    const body = h("tbody");
    let sum = 0;
    const cell = (column: string, value: number) =>
      h("td", { "data-col": column, "data-value": value }, fixed(value, 3));
    for (let d = 0; d < a.q.length; d++) {
      const [first, second] = [a.q[d] * a.k[d], b.q[d] * b.k[d]];
      sum += second - first;
      body.append(
        h(
          "tr",
          { "data-pair-dim": d },
          h("th", { scope: "row" }, String(d)),
          cell("q_a", a.q[d]),
          cell("k_a", a.k[d]),
          cell("product_a", first),
          cell("q_b", b.q[d]),
          cell("k_b", b.k[d]),
          cell("product_b", second),
          cell("difference", second - first),
          cell("sum", sum),
        ),
      );
    }
    const columns = ["dimension", "q A", "k A", "q × k A", "q B", "k B", "q × k B", "B − A", "sum so far"];
    return table(
      "q · k, dimension by dimension: the last sum is the difference of the two dot products",
      columns,
      body,
    );
  }
}

function table(caption: string, columns: string[], body: HTMLElement): HTMLElement {
  const head = h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name)));
  return h("table", { class: "pair-table" }, h("caption", {}, caption), h("thead", {}, head), body);
}
