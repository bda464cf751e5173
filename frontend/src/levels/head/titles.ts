/** Above the two columns: what the numbers beside the tokens are. */
import { h } from "../../base/dom";
import type { State } from "../../base/state";
import type { Axes } from "../../heads/axes";
import { nameOf, type Pen } from "../../heads/palette";
import { compact, isolated } from "../../scene/labels";
import { tokenElement } from "../../scene/token-element";
import { NUMBERS } from "./column";
import type { Highlight } from "./highlight";

export class Titles {
  readonly query = h("div", { class: "ends-head ends-head-query" });
  readonly key = h("div", { class: "ends-head ends-head-key" });
  private said = "";

  draw({ slots, key }: Highlight, { queries, keys }: Axes, state: State, heads: number[], pens: Pen[]): void {
    const said = `${slots} ${key} ${queries.slots[slots[0]]?.text} ${keys.slots[key]?.text} ${state.combine} ${heads}`;
    if (said === this.said) return;
    this.said = said;
    const of =
      slots.length === 1
        ? ["weight of ", tokenElement(compact(queries.slots[slots[0]].text))]
        : [`${state.combine} of ${slots.length} queries`];
    const several = heads.length > 1 && heads.length <= NUMBERS;
    const names = several ? heads.map((head, i) => h("span", { class: "head-name" }, nameOf(pens, head, i))) : [];
    this.key.replaceChildren(
      h("b", {}, "keys"),
      several ? h("span", { class: "what" }) : h("span", { class: "what" }, ...of),
      h("span", { class: "head-names" }, ...names),
    );
    this.query.replaceChildren(
      key >= 0 ? h("span", { class: "what" }, "given to ", tokenElement(compact(keys.slots[key].text))) : h("span"),
      h("b", {}, "queries"),
    );
  }
}

/** The same for a picture on paper. */
export function columnsOf(focus: Highlight, { queries, keys }: Axes, state: State, heads: number[], pens: Pen[]) {
  const { slots, key } = focus;
  const short = (text: string) => isolated(text.length > 20 ? `${text.slice(0, 19)}…` : text);
  const names = heads.slice(0, NUMBERS).map((head, i) => nameOf(pens, head, i));
  const more = heads.length > NUMBERS ? ` of ${heads.length}` : "";
  const signed = pens[0]?.name !== undefined;
  const of = signed ? ", B − A" : state.average === "none" ? `, ${names.join(", ")}${more}` : "";
  const query = queries.slots[slots[0]];
  return {
    query: key >= 0 ? `given to “${short(keys.slots[key].text)}”${of}` : "",
    key:
      slots.length > 1
        ? `${state.combine} of ${slots.length} queries${of}`
        : query
          ? `weight of “${short(query.text)}”${of}`
          : "",
  };
}
