/** Payloads that stand in the page itself. The first block is decoded at once, the others when they are wanted. */
import type { Given } from "../given";
import type { HeadTensors } from "../head";
import { type Metadata, Payload, PayloadError } from "../payload";
import { Holdings, type Source } from "../source";
import { unpack } from "../unpack";

export interface Block {
  text: () => string;
  stride: number;
  /** Indices of the sites it holds; null: not said, so it must be opened to know. */
  sites: number[] | null;
}

export class EmbeddedSource implements Source {
  readonly live = false;
  private readonly opened = new Map<Block, Promise<void>>();

  private constructor(
    private readonly holdings: Holdings,
    private readonly rest: Block[],
    /** What could not be read, in words. */
    readonly problems: string[],
    /** Why, of each block that could not be read. */
    private readonly damaged: Map<Block, string>,
  ) {}

  /** Opens on the first block that can be read; each describes the whole trace. */
  static async open(blocks: Block[]): Promise<EmbeddedSource> {
    if (blocks.length === 0) throw new PayloadError("This page holds no data.");
    const problems: string[] = [];
    const damaged = new Map<Block, string>();
    let failure: unknown;
    for (const [i, first] of blocks.entries()) {
      try {
        const payload = new Payload(await unpack(first.text(), first.stride));
        const holdings = new Holdings(payload.meta);
        holdings.add(payload);
        const source = new EmbeddedSource(holdings, blocks.slice(i + 1), problems, damaged);
        for (const block of source.rest)
          if (!block.sites) await source.unpackBlock(block).catch((error) => problems.push(partly(error)));
        return source;
      } catch (error) {
        failure ??= error;
        damaged.set(first, said(error));
        problems.push(partly(error));
      }
    }
    throw failure;
  }

  get meta(): Metadata {
    return this.holdings.meta;
  }

  holds(site: number, head: number): boolean {
    return (
      this.holdings.holds(site, head) ||
      this.rest.some((block) => !this.opened.has(block) && block.sites?.includes(site))
    );
  }

  damage(site: number): string | null {
    for (const [block, why] of this.damaged) if (block.sites?.includes(site)) return why;
    return null;
  }

  octets(name: string): Uint8Array | null {
    return this.holdings.octets(name);
  }

  head(site: number, head: number): HeadTensors | Promise<HeadTensors> {
    return this.holdings.head(site, head) ?? this.later(site, head);
  }

  given(site: number, head: number): Given | null {
    return this.holdings.given(site, head);
  }

  private async later(site: number, head: number): Promise<HeadTensors> {
    for (const block of this.rest) {
      if (!block.sites?.includes(site)) continue;
      await this.unpackBlock(block);
      const tensors = this.holdings.head(site, head);
      if (tensors) return tensors;
    }
    throw new PayloadError(`Head ${head} of site ${site} is not in this page.`);
  }

  private unpackBlock(block: Block): Promise<void> {
    let opening = this.opened.get(block);
    if (!opening) {
      opening = unpack(block.text(), block.stride)
        .then((bytes) => this.holdings.add(new Payload(bytes)))
        .catch((error) => {
          this.damaged.set(block, said(error));
          throw error;
        });
      this.opened.set(block, opening);
    }
    return opening;
  }
}

const said = (error: unknown) => (error instanceof Error ? error.message : String(error));
const partly = (error: unknown) => `A part of this page cannot be read; what is left is shown. ${said(error)}`;
