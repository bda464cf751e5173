/** What a click or a key on a token changes: the query, those selected beside it, the key. */

import type { Axes } from "../../heads/axes";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import type { Side } from "./column";

export class Selection {
  constructor(
    private readonly actions: Actions,
    private readonly now: () => { axes: Axes; scene: Scene },
  ) {}

  pin(side: Side, slot: number): void {
    const { axes, scene } = this.now();
    if (side === "key") this.actions.set({ key: slot === axes.key ? null : this.token(side, slot) });
    else if (slot !== axes.query || scene.state.queries.length)
      this.actions.set({ query: this.token(side, slot), queries: [] });
  }

  /** A query beside those that are selected, or no longer. */
  toggle(slot: number): void {
    const { axes, scene } = this.now();
    const { queries } = scene.state;
    const rest = queries.filter((query) => axes.queries.of[query] !== slot);
    if (slot === axes.query) {
      // the first of the others takes its place
      if (rest.length) this.actions.set({ query: rest[0], queries: rest.slice(1) });
    } else if (rest.length < queries.length) this.actions.set({ queries: rest });
    else this.actions.set({ queries: [...rest, this.token("query", slot)] });
  }

  enter(side: Side, slot: number): void {
    const token = this.token(side, slot);
    this.actions.go(side === "query" ? { level: "neuron", query: token } : { level: "neuron", key: token });
  }

  private token(side: Side, slot: number): number {
    const { axes } = this.now();
    return (side === "query" ? axes.queries : axes.keys).slots[slot].tokens[0];
  }
}
