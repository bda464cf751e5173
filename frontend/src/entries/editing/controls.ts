/** What can be done to the head that is looked at, and to the pair that is: off, scale, patch; cut, another weight. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { percent } from "../../base/format";
import { editOf, editText, type HeadEdit, ofHead, toggled, withEdit } from "../../base/head-edit";
import { inLine } from "../../scene/labels";
import type { Scene } from "../../scene/scene";

export interface ControlsHost {
  /** `drag`: one step of several that are one edit. */
  set(edits: string[], drag?: boolean): void;
}

export class Controls {
  readonly element = h("div", { class: "edits-controls" });
  private readonly head = h("b");
  private readonly pair = h("b");
  private readonly off: HTMLButtonElement;
  private readonly patch: HTMLButtonElement;
  private readonly cut: HTMLButtonElement;
  private readonly factor = numberField("what the head writes, times", "factor", { min: -10, max: 10, step: 0.1 });
  private readonly weight = numberField("weight in percent", "weight", { min: 0, max: 100, step: 0.1 });
  private readonly slider = h("input", {
    type: "range",
    min: 0,
    max: 1000,
    "data-edit": "slider",
    "aria-label": "weight of this pair",
  });
  private readonly pairRow: HTMLElement;
  private scene: Scene | null = null;

  constructor(
    private readonly host: ControlsHost,
    other: string | null,
  ) {
    this.off = button("off", { class: "choice", "data-edit": "off", "aria-pressed": "false" }, () =>
      this.toggle(this.ofHead("off")),
    );
    this.patch = button(`from ${other}`, { class: "choice", "data-edit": "patch", "aria-pressed": "false" }, () =>
      this.toggle(this.ofHead("patch")),
    );
    this.patch.hidden = other === null;
    this.cut = button("cut", { class: "choice", "data-edit": "cut", "aria-pressed": "false" }, () =>
      this.toggle(this.ofPair("cut")),
    );
    this.factor.addEventListener("change", () => {
      const edit = { ...this.ofHead("times"), number: this.factor.valueAsNumber };
      if (!Number.isFinite(edit.number)) return;
      if (edit.number === 1) this.host.set(without(this.edits, edit));
      else this.put(edit.number === 0 ? this.ofHead("off") : edit);
    });
    this.weight.addEventListener("change", () => this.weigh(this.weight.valueAsNumber / 100));
    // the first step of a drag is an edit of its own, the others move it
    let drags = false;
    this.slider.addEventListener("input", () => {
      this.weigh(Number(this.slider.value) / 1000, drags);
      drags = true;
    });
    for (const kind of ["change", "blur"]) this.slider.addEventListener(kind, () => (drags = false));
    this.pairRow = h(
      "div",
      { class: "edits-control-row", role: "group", "aria-label": "the pair" },
      this.pair,
      this.cut,
      h("label", {}, "weight ", this.slider),
      h("label", {}, this.weight, "%"),
    );
    this.element.append(
      h(
        "div",
        { class: "edits-control-row", role: "group", "aria-label": "the head" },
        this.head,
        this.off,
        this.patch,
        h("label", {}, "\u00d7 ", this.factor),
      ),
      this.pairRow,
      h(
        "p",
        { class: "edits-note" },
        `${other === "B" ? "Edits are made in A. " : ""}The picture stays that of the text without edits.`,
      ),
    );
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const { site, state, queryLabels, keyLabels, query, key, chain } = scene;
    setText(this.head, `${site.stack ? `${site.stack} ` : ""}L${site.layer}H${state.head}`);
    const held = editOf(state.edits, this.ofHead("off"));
    setAttribute(this.off, "aria-pressed", String(held?.verb === "off"));
    setAttribute(this.patch, "aria-pressed", String(held?.verb === "patch"));
    put(this.factor, held?.verb === "off" ? 0 : held?.verb === "times" ? (held.number ?? 1) : 1);
    // in B − A a pair stands along the merged row, which no text has
    this.pairRow.hidden = scene.pair !== null || site.weights_only;
    if (this.pairRow.hidden) return;
    const pair = editOf(state.edits, this.ofPair("cut"));
    setText(this.pair, `${inLine(queryLabels[query])} \u2192 ${inLine(keyLabels[key])}`);
    setAttribute(this.cut, "aria-pressed", String(pair?.verb === "cut"));
    const seen = !chain.allowed || Boolean(chain.allowed[key]);
    for (const field of [this.cut, this.slider, this.weight]) field.disabled = !seen;
    const weight = pair ? (pair.number ?? 0) : chain.weights[key];
    put(this.slider, Math.round(weight * 1000));
    setAttribute(this.slider, "aria-valuetext", percent(weight));
    put(this.weight, Number((weight * 100).toFixed(2)));
  }

  private get edits(): string[] {
    return (this.scene as Scene).state.edits;
  }

  private ofHead(verb: HeadEdit["verb"]): HeadEdit {
    const { site, state } = this.scene as Scene;
    return ofHead(verb, site.stack, site.layer, state.head);
  }

  private ofPair(verb: "cut" | "weights"): HeadEdit {
    const { query, key } = this.scene as Scene;
    return { ...this.ofHead(verb), query, key };
  }

  private weigh(weight: number, drag = false): void {
    if (weight >= 0 && weight <= 1) this.put({ ...this.ofPair("weights"), number: weight }, drag);
  }

  private put(edit: HeadEdit, drag = false): void {
    this.host.set(withEdit(this.edits, edit), drag);
  }

  private toggle(edit: HeadEdit): void {
    this.host.set(toggled(this.edits, edit));
  }
}

function without(edits: string[], edit: HeadEdit): string[] {
  const held = editOf(edits, edit);
  return held ? edits.filter((one) => one !== editText(held)) : edits;
}

function numberField(name: string, edit: string, limits: Record<"min" | "max" | "step", number>): HTMLInputElement {
  return h("input", { type: "number", inputmode: "decimal", "aria-label": name, "data-edit": edit, ...limits });
}

/** What the reader is typing stays. */
function put(field: HTMLInputElement, value: number): void {
  const inside = field.getRootNode() as ShadowRoot;
  if (field.type === "number" && inside.activeElement === field && field.valueAsNumber === value) return;
  if (field.value !== String(value)) field.value = String(value);
}
