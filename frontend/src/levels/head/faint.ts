/** The faint lines of all queries, gathered once per picture: in slices where the text is long. */
import type { Axes } from "../../heads/axes";
import { completed } from "../../heads/head-sentence";
import type { RowCache } from "../../heads/row-cache";
import { slotRow } from "../../heads/rows";
import { TimeSlices } from "../../heads/time-slices";
import { choose, type Line, magnified } from "./geometry";

const FAINT = 1500; // lines
const FAINT_FROM = 0.03;
const AT_ONCE = 30_000; // cells that are drawn without a wait
const NOW_AND_THEN = 250; // ms: drawing costs more than computing

export class Faint {
  private readonly slices = new TimeSlices();

  constructor(private readonly show: (lines: Line[]) => void) {}

  /** `done`: all rows are known, and were not before. */
  draw(caches: RowCache[], axes: Axes, threshold: number, done: () => void): void {
    this.slices.cancel();
    const lines: Line[] = [];
    const from = Math.max(FAINT_FROM, threshold);
    const queries = axes.queries.slots.length;
    const total = queries * caches.length;
    let at = 0;
    const step = () => {
      if (at >= total) return caches.some((cache) => cache.advance());
      const head = Math.floor(at / queries);
      const query = at++ % queries;
      const { weights, hidden } = slotRow(caches[head], axes, query);
      const times = caches[head].signed ? 1 : magnified(hidden);
      for (let key = 0; key < weights.length; key++) {
        const size = weights[key] * times;
        if (size >= from) lines.push({ query, key, weight: weights[key], size, head });
      }
      return true;
    };
    const show = () => this.show(choose(lines, from, FAINT).lines);
    if (caches.every(completed) && total * axes.keys.slots.length < AT_ONCE) {
      while (step());
      show();
      return;
    }
    this.show([]);
    if (caches.some((cache) => cache.large)) return; // one query at a time
    let shown = 0;
    const now = () => {
      if (performance.now() - shown < NOW_AND_THEN) return;
      shown = performance.now();
      show();
    };
    this.slices.run(step, now, () => {
      show();
      done();
    });
  }

  /** True where it was not done. */
  cancel(): boolean {
    return this.slices.cancel();
  }
}
