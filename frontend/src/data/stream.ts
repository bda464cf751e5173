/** The table of the residual stream: its words, and its numbers row by row. */

import type { StreamNote } from "./metadata";
import type { Source } from "./source";

const known = new WeakMap<object, StreamTable | null>();

/** The table of a trace; null where it has none. */
export function streamOf(source: Pick<Source, "meta" | "floats">): StreamTable | null {
  let table = known.get(source);
  if (table === undefined) {
    const { stream } = source.meta;
    table = stream ? new StreamTable(stream, (name) => source.floats?.(`stream.${name}`) ?? null) : null;
    known.set(source, table);
  }
  return table;
}

export class StreamTable {
  /** How many targets a position has; there may be some at which nothing is predicted. */
  readonly columns: number;

  constructor(
    readonly note: StreamNote,
    private readonly floats: (name: string) => Float32Array | null,
  ) {
    this.columns = note.targets.reduce((most, row) => Math.max(most, row.length), 0);
  }

  /** The row of a token; -1 where it is not held. */
  row(position: number): number {
    return this.note.positions.indexOf(position);
  }

  /** The held position that is nearest to a token. */
  nearest(position: number): number {
    const far = (one: number) => Math.abs(one - position);
    return this.note.positions.reduce((best, one) => (far(one) < far(best) ? one : best));
  }

  /** ‖x‖ after the embedding and after each layer. */
  sizes(row: number): Float32Array {
    return this.part("sizes", row, this.note.layers + 1);
  }

  /** ‖what each block added‖, and the cosine between x before and after it. */
  writes(row: number): Float32Array {
    return this.part("writes", row, this.note.blocks.length);
  }

  turns(row: number): Float32Array {
    return this.part("turns", row, this.note.blocks.length);
  }

  logits(row: number): Float32Array {
    return this.part("logits", row, this.columns);
  }

  probabilities(row: number): Float32Array {
    return this.part("probabilities", row, this.columns);
  }

  /** Of each part to each target's logit, a part after the other; null where they would not add up. */
  contributions(row: number): Float32Array | null {
    const size = this.note.parts.length * this.columns;
    const all = size ? this.floats("contributions") : null;
    return all && all.length >= (row + 1) * size ? all.subarray(row * size, (row + 1) * size) : null;
  }

  /** The probability of the lens's token after the embedding and after each layer; empty without a lens. */
  lens(row: number): Float32Array {
    return this.part("lens_probabilities", row, this.note.lens_text.length ? this.note.layers + 1 : 0);
  }

  private part(name: string, row: number, size: number): Float32Array {
    return this.floats(name)?.subarray(row * size, (row + 1) * size) ?? new Float32Array(size);
  }
}
