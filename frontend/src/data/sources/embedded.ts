/** Payloads that stand in the page itself. The first block is decoded at once, the others when they are wanted. */

import type { HeadTensors } from "../head-tensors";
import type { Metadata } from "../metadata";
import { Payload } from "../payload";
import { PayloadError } from "../safetensors";
import { Holdings, type Source } from "../source";
import type { StepTensors } from "../step-tensors";
import { unpack } from "../unpack";

export interface Block {
  text: () => string;
  stride: number;
  /** Indices of the sites it holds; null: not said, so it must be opened to know. */
  sites: number[] | null;
}

/** Blocks that stand below the script, which the browser has not read yet: what they promise, and they. */
export interface Coming {
  sites: number[];
  blocks: Promise<Block[]>;
}

const NONE: Coming = { sites: [], blocks: Promise.resolve([]) };

export class EmbeddedSource implements Source {
  readonly live = false;
  /** What could not be read at first, in words. */
  readonly problems: string[] = [];
  private readonly opened = new Map<Block, Promise<void>>();
  private readonly rest: Block[] = [];
  private readonly promised: Set<number>;
  private readonly arrived: Promise<void>;
  /** Why, of each site that could not be read. */
  private readonly damaged = new Map<number, string>();

  private constructor(
    private readonly holdings: Holdings,
    coming: Coming,
  ) {
    this.promised = new Set(coming.sites);
    this.arrived = coming.blocks.then(async (blocks) => {
      await this.take(blocks);
      for (const site of this.promised) this.damaged.set(site, CUT);
      this.promised.clear();
    });
  }

  /** Opens on the first block that can be read; each describes the whole trace. */
  static async open(here: Block[], coming = NONE): Promise<EmbeddedSource> {
    const unread: { block: Block; error: unknown }[] = [];
    const begin = async (blocks: Block[], coming: Coming) => {
      for (const [i, first] of blocks.entries()) {
        try {
          const payload = new Payload(await unpack(first.text()), first.stride);
          const source = new EmbeddedSource(new Holdings(payload.meta), coming);
          source.holdings.add(payload);
          for (const { block, error } of unread) {
            source.spoil(block, error);
            source.problems.push(partly(error));
          }
          source.came([...unread.map(({ block }) => block), first]);
          await source.take(blocks.slice(i + 1));
          return source;
        } catch (error) {
          unread.push({ block: first, error });
        }
      }
      return null;
    };
    const source = (await begin(here, coming)) ?? (await begin(await coming.blocks, NONE));
    if (source) return source;
    throw unread[0]?.error ?? new PayloadError("This page holds no data.");
  }

  get meta(): Metadata {
    return this.holdings.meta;
  }

  holds(site: number, head: number): boolean {
    return (
      this.holdings.holds(site, head) ||
      this.promised.has(site) ||
      this.rest.some((block) => !this.opened.has(block) && block.sites?.includes(site))
    );
  }

  damage(site: number): string | null {
    return this.damaged.get(site) ?? null;
  }

  floats(name: string): Float32Array | null {
    return this.holdings.floats(name);
  }

  octets(name: string): Uint8Array | null {
    return this.holdings.octets(name);
  }

  head(site: number, head: number): HeadTensors | Promise<HeadTensors> {
    return this.holdings.head(site, head) ?? this.later(site, head);
  }

  stepTensors(site: number, head: number): StepTensors | null {
    return this.holdings.stepTensors(site, head);
  }

  private async later(site: number, head: number): Promise<HeadTensors> {
    if (this.promised.has(site)) await this.arrived;
    for (const block of this.rest) {
      if (!block.sites?.includes(site)) continue;
      await this.unpackBlock(block);
      const tensors = this.holdings.head(site, head);
      if (tensors) return tensors;
    }
    throw new PayloadError(this.damage(site) ?? `Head ${head} of site ${site} is not in this page.`);
  }

  /** A block that does not say what it holds is opened to know. */
  private async take(blocks: Block[]): Promise<void> {
    this.rest.push(...blocks);
    this.came(blocks);
    for (const block of blocks)
      if (!block.sites) await this.unpackBlock(block).catch((error) => this.problems.push(partly(error)));
  }

  private came(blocks: Block[]): void {
    for (const site of blocks.flatMap(({ sites }) => sites ?? [])) this.promised.delete(site);
  }

  private spoil(block: Block, error: unknown): void {
    for (const site of block.sites ?? []) this.damaged.set(site, said(error));
  }

  private unpackBlock(block: Block): Promise<void> {
    let opening = this.opened.get(block);
    if (!opening) {
      opening = unpack(block.text())
        .then((bytes) => this.holdings.add(new Payload(bytes, block.stride)))
        .catch((error) => {
          this.spoil(block, error);
          throw error;
        });
      this.opened.set(block, opening);
    }
    return opening;
  }
}

const CUT = "The page ends before its numbers: the file was cut short.";
const said = (error: unknown) => (error instanceof Error ? error.message : String(error));
const partly = (error: unknown) => `A part of this page cannot be read; what is left is shown. ${said(error)}`;
