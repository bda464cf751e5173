/** How much of the row lies above and below what is in sight. */
import { h, setText } from "../../base/dom";
import { percentInWords } from "../../base/format";

const LEAST = 0.0005;

export class Edges {
  readonly above = h("span", { class: "edge edge-above", "data-edge": "above" });
  readonly below = h("span", { class: "edge edge-below", "data-edge": "below" });

  draw(weights: readonly (number | null)[], [from, to]: [number, number]): void {
    const sum = (part: readonly (number | null)[]) => part.reduce<number>((total, weight) => total + (weight ?? 0), 0);
    const [above, below] = [sum(weights.slice(0, from)), sum(weights.slice(to + 1))];
    setText(this.above, `↑ ${percentInWords(above)} above`);
    setText(this.below, `↓ ${percentInWords(below)} below`);
    this.above.hidden = above < LEAST;
    this.below.hidden = below < LEAST;
  }
}
