/** Above the two columns: what the numbers beside the tokens are. */
import { h } from "../../dom";
import type { State } from "../../state";
import type { Axes } from "./axes";
import type { Focus } from "./focus";
import { nameOf, type Pen } from "./palette";

const NAMED = 3; // heads: more have no room for their names

export class Titles {
  readonly query = h("div", { class: "ends-head ends-head-query" });
  readonly key = h("div", { class: "ends-head ends-head-key" });
  private said = "";

  draw({ slots, key }: Focus, { queries, keys }: Axes, state: State, heads: number[], pens: Pen[]): void {
    const said = `${slots} ${key} ${queries.slots[slots[0]]?.text} ${keys.slots[key]?.text} ${state.combine} ${heads}`;
    if (said === this.said) return;
    this.said = said;
    const token = (text: string) => h("bdi", { class: "tok" }, text);
    const of =
      slots.length === 1
        ? ["weight of ", token(queries.slots[slots[0]].text)]
        : [`${state.combine} of ${slots.length} queries`];
    const several = heads.length > 1 && heads.length <= NAMED;
    const names = several ? heads.map((head, i) => h("span", { class: "head-name" }, nameOf(pens, head, i))) : [];
    this.key.replaceChildren(
      h("b", {}, "keys"),
      several ? h("span", { class: "what" }) : h("span", { class: "what" }, ...of),
      h("span", { class: "head-names" }, ...names),
    );
    this.query.replaceChildren(
      key >= 0 ? h("span", { class: "what" }, "given to ", token(keys.slots[key].text)) : h("span"),
      h("b", {}, "queries"),
    );
  }
}
