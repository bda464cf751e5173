/** One step of the chain on the page: what it is at the left, its formula and numbers at the right. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { precise } from "../../base/format";
import type { Ramp } from "../../base/scale";
import { formula, plain, subscripted } from "./formula";
import type { Scalar, Step } from "./step";
import { SumView } from "./sum";
import { type VectorHost, VectorView } from "./vector";

/** The number that is unfolded: a vector's (with its dimension) or a single one. */
export interface Opened {
  id: string;
  d: number;
}

export class StepView {
  readonly element = h("section", { class: "step" });
  private readonly number = h("span", { class: "step-number" });
  private readonly name = h("h3", { class: "step-name" });
  private readonly why = h("p", { class: "step-why" });
  private readonly body = h("div", { class: "step-body" });
  private readonly formulaPlace = h("div");
  private readonly place = h("p", { class: "step-place", "data-place": true });
  private readonly special = h("div");
  private readonly vectorPlace = h("div", { class: "vectors" });
  private readonly scalarPlace = h("div", { class: "scalars" });
  private readonly saidPlace = h("div", { class: "step-said" });
  private readonly sum: SumView;
  private vectors: VectorView[] = [];
  private step: Step | null = null;
  private opened: Opened | null = null;
  private ramp: Ramp | null = null;
  private room = 0;
  private readonly host: VectorHost;

  constructor(private readonly say: (text: string) => void) {
    this.sum = new SumView(() => this.close());
    this.host = { say, toggle: (id, d) => this.toggle(id, d) };
    this.body.append(
      this.formulaPlace,
      this.place,
      this.special,
      this.vectorPlace,
      this.scalarPlace,
      this.saidPlace,
      this.sum.element,
    );
    this.element.append(
      h("div", { class: "step-side" }, h("div", { class: "step-title" }, this.number, this.name), this.why),
      this.body,
    );
  }

  /** `room`: width of the level. */
  draw(step: Step, ramp: Ramp, special: HTMLElement | null, room: number): void {
    this.step = step;
    this.ramp = ramp;
    this.room = room;
    const { element } = this;
    element.dataset.step = step.id;
    setAttribute(element, "data-quiet", step.quiet ? "" : null);
    setText(this.number, step.number);
    setText(this.name, step.name);
    setText(this.why, [step.why, step.onScreen].filter(Boolean).join(" "));
    this.why.hidden = !step.why;
    this.body.hidden = step.quiet === true;
    const text = step.formula ? plain(step.formula) : "";
    if (this.formulaPlace.dataset.formula !== text) {
      this.formulaPlace.dataset.formula = text;
      this.formulaPlace.replaceChildren(...(step.formula ? [formula(step.formula)] : []));
    }
    if (this.place.dataset.place !== (step.place ?? "")) this.place.replaceChildren(...subscripted(step.place ?? ""));
    this.place.dataset.place = step.place ?? "";
    this.place.hidden = !step.place;
    if (special && this.special.firstElementChild !== special) this.special.replaceChildren(special);
    if (!special) this.special.replaceChildren();
    const { vectors = [], scalars = [], said = [] } = step;
    while (this.vectors.length < vectors.length) this.vectors.push(new VectorView(this.host));
    this.vectors.length = vectors.length;
    const views = this.vectors.map((view) => view.element);
    if (views.length !== this.vectorPlace.children.length) this.vectorPlace.replaceChildren(...views);
    vectors.forEach((vector, i) => {
      this.vectors[i].draw(vector, this.opened?.id === vector.id ? this.opened.d : null, ramp, room);
    });
    this.drawScalars(scalars);
    if (this.saidPlace.textContent !== said.join(""))
      this.saidPlace.replaceChildren(...said.map((line) => h("p", {}, line)));
    this.unfold();
  }

  /** Folds the sum; false when none was open. */
  close(): boolean {
    const { opened } = this;
    if (!opened) return false;
    this.opened = null;
    this.redraw();
    const vector = this.vectors[this.step?.vectors?.findIndex(({ id }) => id === opened.id) ?? -1];
    if (vector) vector.focus(opened.d);
    else this.scalarPlace.querySelector<HTMLElement>(`[data-scalar="${opened.id}"]`)?.focus();
    return true;
  }

  get isOpen(): boolean {
    return this.opened !== null;
  }

  private toggle(id: string, d: number): void {
    this.opened = this.opened?.id === id && this.opened.d === d ? null : { id, d };
    this.redraw();
  }

  private redraw(): void {
    const { step, ramp, room } = this;
    if (step && ramp) this.draw(step, ramp, this.special.firstElementChild as HTMLElement | null, room);
  }

  private drawScalars(scalars: Scalar[]): void {
    const place = this.scalarPlace;
    place.hidden = scalars.length === 0;
    const key = scalars.map(({ id, expand }) => `${id}${expand ? "+" : ""}`).join();
    if (place.dataset.key !== key) {
      place.dataset.key = key;
      place.replaceChildren(
        ...scalars.map(({ id, expand }) => {
          const value = expand
            ? button("", { class: "scalar-value", "data-scalar": id }, () => this.toggle(id, 0))
            : h("b", { class: "scalar-value", "data-scalar": id });
          value.addEventListener("pointerover", () => this.hear(value));
          value.addEventListener("focus", () => this.hear(value));
          return h("span", { class: "scalar" }, h("span", { class: "scalar-symbol" }), value);
        }),
      );
    }
    scalars.forEach(({ id, symbol, value, text, expand }, i) => {
      const [name, shown] = place.children[i].children as unknown as HTMLElement[];
      setText(name, `${symbol} =`);
      setText(shown, text);
      shown.dataset.value = String(value);
      shown.dataset.symbol = symbol;
      setAttribute(shown, "aria-expanded", expand ? String(this.opened?.id === id) : null);
      setAttribute(shown, "aria-label", expand ? `${symbol} = ${text}, the sum that made it` : null);
    });
  }

  private hear(element: HTMLElement): void {
    this.say(`${element.dataset.symbol} = ${precise(Number(element.dataset.value))}`);
  }

  private unfold(): void {
    const { opened, step } = this;
    const vector = step?.vectors?.find(({ id }) => id === opened?.id);
    const expand = vector?.expand ?? step?.scalars?.find(({ id }) => id === opened?.id)?.expand;
    if (!opened || !expand || (vector && opened.d >= vector.values.length)) {
      this.opened = null;
      this.sum.hide();
      return;
    }
    this.sum.show(`${opened.id}.${opened.d}`, expand(opened.d));
  }
}
