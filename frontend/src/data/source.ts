/** Where tensors come from. The app and its levels know this interface only, never the host behind it. */

import type { AskEdits } from "./edits";
import { HeadTensors } from "./head-tensors";
import type { Metadata, Site } from "./metadata";
import type { Payload } from "./payload";
import { Picture, Pictured } from "./pictured";
import { PayloadError } from "./safetensors";
import { StepTensors } from "./step-tensors";

/** Tiles of one head, as [zoom, row, col]; see attnscope/tiles. `coarse`: without waiting, from some of the queries. */
export interface TilesAsked {
  site: number;
  head: number;
  tiles: [number, number, number][];
  coarse: boolean;
}

/** `values`: row by row; −1 where all is masked, NaN where something is broken. */
export interface TileData {
  values: Float32Array;
  columns: number;
  exact: boolean;
}

export interface Source {
  /** Describes every site, held or not. */
  readonly meta: Metadata;
  /** What can be had without asking anybody. */
  holds(site: number, head: number): boolean;
  /** Of a head that is not held: there is a coarse picture, and `head` gives a `Pictured`. */
  pictured?(site: number, head: number): boolean;
  /** Others can be fetched from a live kernel or server. */
  readonly live: boolean;
  /** Who that is. */
  readonly who?: "kernel" | "server";
  /** One head's tensors; at once when they are already decoded. */
  head(site: number, head: number, signal?: AbortSignal): HeadTensors | Promise<HeadTensors>;
  /** What one head's q, k and v were made of, where it is here. */
  stepTensors?(site: number, head: number): StepTensors | null;
  /** Asks for it, where somebody can be asked. */
  fetchStepTensors?(site: number, head: number): Promise<StepTensors>;
  /** Why a site that should be here cannot be read; null: nothing is known to be wrong with it. */
  damage?(site: number): string | null;
  /** A tensor of bytes that any of the data here has, by its name. */
  octets?(name: string): Uint8Array | null;
  /** The same of numbers. */
  floats?(name: string): Float32Array | null;
  /** Asks the model what edits do to its predictions, where there is one. */
  askEdits?: AskEdits;
  /** Parts of the picture of a head that is too long to be computed here, where somebody can be asked. */
  tiles?(asked: TilesAsked, signal: AbortSignal): Promise<TileData[]>;
  /** Says that more is held now. */
  onChange?(listener: () => void): () => void;
}

/** Payloads of one trace, added up. Every source keeps its bytes here. */
export class Holdings {
  private readonly holders: { payload: Payload; site: number; heads: Set<number> }[] = [];
  private readonly workings: { payload: Payload; site: Site }[] = [];
  private readonly made = new Map<string, StepTensors>();
  private readonly decoded = new Map<string, HeadTensors>();
  private readonly payloads: Payload[] = [];
  private readonly numbers = new Map<string, Float32Array | null>();

  constructor(readonly meta: Metadata) {}

  add(payload: Payload): void {
    if (payload.meta.trace !== this.meta.trace) throw new PayloadError("The data belongs to another trace.");
    this.payloads.push(payload);
    for (const site of payload.meta.sites) {
      if (site.steps?.heads.length) this.workings.push({ payload, site });
      if (site.held) this.holders.push({ payload, site: site.index, heads: new Set(site.held.heads) });
    }
  }

  holds(site: number, head: number): boolean {
    return this.holders.some((holder) => holder.site === site && holder.heads.has(head));
  }

  stepTensors(site: number, head: number): StepTensors | null {
    const name = `${site}.${head}`;
    const found = this.workings.find((one) => one.site.index === site && one.site.steps?.heads.includes(head));
    if (!found) return null;
    const known = this.made.get(name) ?? new StepTensors(found.payload, found.site, head);
    this.made.clear(); // the last one is enough
    this.made.set(name, known);
    return known;
  }

  octets(name: string): Uint8Array | null {
    return this.payloads.find((payload) => payload.has(name))?.octets(name) ?? null;
  }

  floats(name: string): Float32Array | null {
    let found = this.numbers.get(name);
    if (found === undefined) {
      found = this.payloads.find((payload) => payload.has(name))?.floats(name) ?? null;
      if (found) this.numbers.set(name, found);
    }
    return found;
  }

  picture(index: number, head: number): Pictured | null {
    for (const payload of this.payloads) {
      const site = payload.meta.sites.find((one) => one.index === index);
      const { picture } = site ?? {};
      const at = picture?.heads.indexOf(head) ?? -1;
      if (!site || !picture || at < 0) continue;
      const size = picture.rows * picture.columns;
      const octets = payload.octets(picture.tensor).subarray(at * size, (at + 1) * size);
      const whole = new Picture(picture, octets, picture.queries ?? site.queries, picture.keys ?? site.keys);
      return new Pictured(this.meta, index, head, whole);
    }
    return null;
  }

  head(site: number, head: number): HeadTensors | null {
    const name = `${site}.${head}`;
    const known = this.decoded.get(name);
    if (known) return known;
    const holder = this.holders.find((one) => one.site === site && one.heads.has(head));
    if (!holder) return null;
    const tensors = new HeadTensors(holder.payload, site, head);
    this.decoded.set(name, tensors);
    // decoded heads are cheap to make again: keep the last dozens
    if (this.decoded.size > 48) this.decoded.delete(this.decoded.keys().next().value as string);
    return tensors;
  }
}
