/** Where the tensors of B − A come from: the sources of both, and a payload that lays them beside each other. */

import type { AskEdits } from "../data/edits";
import type { HeadTensors } from "../data/head-tensors";
import type { Metadata, Places } from "../data/metadata";
import type { Payload } from "../data/payload";
import { PayloadError } from "../data/safetensors";
import type { Source } from "../data/source";
import { Difference } from "./difference";

export class PairSource implements Source {
  readonly live: boolean;
  /** Edits in B − A are of A. */
  readonly askEdits?: AskEdits;
  private readonly made = new Map<string, Difference>();

  constructor(
    private readonly payload: Payload,
    readonly a: Source,
    readonly b: Source,
  ) {
    this.live = a.live || b.live;
    this.askEdits = a.askEdits?.bind(a);
    if (!payload.meta.pair) throw new PayloadError("The data of this comparison does not say what belongs together.");
  }

  get meta(): Metadata {
    return this.payload.meta;
  }

  get places(): Places[] {
    return (this.meta.pair as NonNullable<Metadata["pair"]>).places;
  }

  holds(site: number, head: number): boolean {
    const [a, b] = this.sitesOf(site);
    return this.a.holds(a, head) && this.b.holds(b, head);
  }

  head(site: number, head: number): HeadTensors | Promise<HeadTensors> {
    const known = this.made.get(`${site}.${head}`);
    if (known) return known;
    const [a, b] = this.sitesOf(site);
    const found = [this.a.head(a, head), this.b.head(b, head)];
    if (!found.some((one) => one instanceof Promise)) return this.make(site, head, found as HeadTensors[]);
    return Promise.all(found).then((both) => this.make(site, head, both));
  }

  octets(name: string): Uint8Array | null {
    return this.payload.has(name) ? this.payload.octets(name) : null;
  }

  damage(site: number): string | null {
    const [a, b] = this.sitesOf(site);
    return this.a.damage?.(a) ?? this.b.damage?.(b) ?? null;
  }

  private sitesOf(site: number): [number, number] {
    return (this.meta.pair as NonNullable<Metadata["pair"]>).sites[site];
  }

  private make(site: number, head: number, [a, b]: HeadTensors[]): Difference {
    const { query_tokens, key_tokens } = this.meta.sites[site];
    const made = new Difference(
      this.meta,
      site,
      head,
      { meta: this.a.meta, tensors: a },
      { meta: this.b.meta, tensors: b },
      this.places[query_tokens],
      this.places[key_tokens],
    );
    this.made.set(`${site}.${head}`, made);
    if (this.made.size > 24) this.made.delete(this.made.keys().next().value as string);
    return made;
  }
}
