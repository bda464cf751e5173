/** The numbers of the cells, a row at a time, with the sums along their edges. */

import type { State } from "../../base/state";
import { type Picture, Pictured } from "../../data/pictured";
import type { Axes } from "../../heads/axes";
import type { SlotRow } from "../../heads/axis";
import type { RowCache } from "../../heads/row-cache";
import { slotRow } from "../../heads/rows";

export const SHOWN = 0;
export const MASKED = 1;
export const BROKEN = 2;

export interface FieldRow {
  values: Float32Array;
  /** SHOWN, MASKED or BROKEN. */
  kinds: Uint8Array;
}

const UNEVEN = 0.005; // half of what two decimals show
const LONG = 64; // keys: a shorter text shows every weight on one scale

export type Quantity = State["quantity"];

export function valuesOf(row: SlotRow, quantity: Quantity): Float64Array {
  return (quantity === "scores" ? row.scores : quantity === "dot" ? row.dot : row.weights) ?? row.weights;
}

export class Field {
  readonly rows: number;
  readonly columns: number;
  /** Sums of weights: what a row gives to the keys that are drawn, what a key receives. */
  readonly rowSums: Float64Array;
  readonly columnSums: Float64Array;
  largest = 0;
  /** A size that all but three cells in a thousand stay below, of rows spread over the text; 0 before any is known. */
  usual = 0;
  masked = false;
  broken = false;
  /** Slots of queries that may see no key. */
  readonly empty = new Set<number>();
  private readonly known: (FieldRow | undefined)[];
  private scan = 0;
  private count = 0;

  constructor(
    readonly cache: RowCache,
    readonly axes: Axes,
    readonly quantity: Quantity,
  ) {
    this.rows = axes.queries.slots.length;
    this.columns = axes.keys.slots.length;
    this.known = new Array(this.rows);
    this.rowSums = new Float64Array(this.rows);
    this.columnSums = new Float64Array(this.columns);
  }

  /** In place of the numbers of a head that is not here. */
  get picture(): Picture | null {
    const [head] = this.cache.members;
    return head instanceof Pictured ? head.picture : null;
  }

  /** Of a text too long for all rows: its picture comes in tiles, or is all there is. */
  get tiled(): boolean {
    return this.cache.large || this.picture !== null;
  }

  get complete(): boolean {
    return this.count === this.rows;
  }

  /** True where the weights of a row do not add up to 1: some are hidden, outside the filter or at a sink. */
  uneven(i: number): boolean {
    return this.known[i] !== undefined && !this.empty.has(i) && Math.abs(this.rowSums[i] - 1) >= UNEVEN;
  }

  get anyUneven(): boolean {
    for (let i = 0; i < this.rows; i++) if (this.uneven(i)) return true;
    return false;
  }

  /** A row if it has been computed. */
  row(i: number): FieldRow | undefined {
    return this.known[i];
  }

  /** Where the scale ends: at the largest number of a short text; a long one has few that large, and they are clipped. */
  get end(): number {
    return this.quantity === "weights" && this.columns > LONG && this.usual > 0 ? this.usual : this.largest;
  }

  /** One more row; false when all are there. */
  advance(): boolean {
    if (this.scan < this.rows) this.compute(this.scan++);
    return this.scan < this.rows;
  }

  /** Rows that tell how large the numbers are, before all are computed. */
  sample(n: number): void {
    const sizes: number[] = [];
    for (let s = 0; s < n; s++) {
      const i = Math.floor((s * this.rows) / n);
      this.compute(i);
      const { values, kinds } = this.known[i] as FieldRow;
      for (let j = 0; j < values.length; j++) if (kinds[j] === SHOWN) sizes.push(Math.abs(values[j]));
    }
    const sorted = Float64Array.from(sizes).sort();
    this.usual = sorted.length ? sorted[Math.floor(0.997 * (sorted.length - 1))] : 0;
  }

  /** The scale of a picture in tiles: a size that all but two cells in a hundred of the whole stay below. */
  measure(values: Float32Array): void {
    const sizes = values.filter((value) => value >= 0).sort();
    if (!sizes.length) return;
    this.usual = sizes[Math.floor(0.98 * (sizes.length - 1))];
    this.largest = Math.max(this.largest, sizes[sizes.length - 1]);
  }

  private compute(i: number): void {
    if (this.known[i] || i >= this.rows) return;
    const row = slotRow(this.cache, this.axes, i, this.quantity !== "weights");
    const source = valuesOf(row, this.quantity);
    const values = Float32Array.from(source);
    const kinds = new Uint8Array(values.length);
    for (let j = 0; j < values.length; j++) {
      if (Number.isNaN(source[j])) {
        kinds[j] = BROKEN;
        this.broken = true;
      } else if (row.masked[j] && !(this.quantity === "weights" && source[j] > 0)) {
        kinds[j] = MASKED;
        this.masked = true;
      } else if (Number.isFinite(source[j])) this.largest = Math.max(this.largest, Math.abs(source[j]));
      else kinds[j] = BROKEN;
      const weight = row.weights[j];
      if (Number.isFinite(weight)) {
        this.rowSums[i] += weight;
        this.columnSums[j] += weight;
      }
    }
    if (row.empty) this.empty.add(i);
    this.known[i] = { values, kinds };
    this.count++;
  }
}
