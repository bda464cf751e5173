/** Where the grid gets its field: one per head, axes and quantity, a few rows at once, the rest in slices. */

import { Pictured } from "../../data/pictured";
import type { Source } from "../../data/source";
import type { Axes } from "../../heads/axes";
import { completed } from "../../heads/head-sentence";
import { type Found, rowCacheOf } from "../../heads/rows";
import { TimeSlices } from "../../heads/time-slices";
import type { Scene } from "../../scene/scene";
import { Field, type Quantity } from "./field";
import { Tiles } from "./tiles";

const AT_ONCE = 20_000; // cells that are computed without a wait
const SAMPLE = 24; // rows that tell the scale
const NOW_AND_THEN = 200; // ms
/** Heads of a mean in a long text; a row of more takes too long. */
export const MEAN = 64;

export class BackgroundFill {
  found: Found | null = null;
  field: Field | null = null;
  /** Of a text too long for rows: where the picture comes from. */
  tiles: Tiles | null = null;
  private name = "";
  /** Before all rows were known. */
  private stopped = false;
  private readonly slices = new TimeSlices();

  /** `more`: further rows are known; `done`: all of them are, and were not when the field was asked for, or tiles have come. */
  constructor(
    private readonly source: Source,
    private readonly more: () => void,
    private readonly done: () => void,
    private readonly notice: (text: string) => void,
  ) {}

  ask(scene: Scene, axes: Axes): Found {
    const { site, state } = scene;
    const found = rowCacheOf(this.source, scene, state.head);
    this.found = found;
    const { cache } = found;
    const quantity: Quantity = cache?.hasScores && !cache.large && !scene.picture ? state.quantity : "weights";
    const name = cache
      ? `${site.index} ${cache.members.length} ${cache.members[0].site.index}.${cache.members[0].head} ${axes.name} ${quantity} ${state.average}`
      : "";
    if (name === this.name) {
      if (this.stopped && this.field) this.goOn(this.field);
      return found;
    }
    this.name = name;
    this.cancel();
    this.tiles = null;
    this.stopped = false;
    const some = axes.keys.slots.length > 0 && axes.queries.slots.length > 0;
    const large = cache?.large || cache?.members[0] instanceof Pictured;
    const tiled = cache !== null && large && cache.members.length <= MEAN && !found.waiting.length && !cache.signed;
    this.field = cache && some && (tiled || !large) ? new Field(cache, axes, quantity) : null;
    if (this.field && tiled) this.tile(this.field);
    else if (this.field) this.fill(this.field);
    return found;
  }

  private tile(field: Field): void {
    field.masked = Object.values(field.cache.site.mask).some((part) => part !== null && typeof part !== "string");
    const first = ({ values }: { values: Float32Array }) => field.measure(values);
    this.tiles = new Tiles(this.source, field.cache, this.done, first, this.notice);
  }

  private fill(field: Field): void {
    field.sample(SAMPLE);
    if (field.rows * field.columns <= AT_ONCE && completed(field.cache)) {
      while (field.advance());
      return;
    }
    this.goOn(field);
  }

  private goOn(field: Field): void {
    this.stopped = true;
    let shown = performance.now();
    this.slices.run(
      () => field.advance() || field.cache.advance(), // rows that are not drawn count in the sentence
      () => {
        if (performance.now() - shown < NOW_AND_THEN) return;
        shown = performance.now();
        this.more();
      },
      () => {
        this.stopped = false;
        this.done();
      },
    );
  }

  cancel(): void {
    this.tiles?.cancel();
    this.slices.cancel();
  }
}
