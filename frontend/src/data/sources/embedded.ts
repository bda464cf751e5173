/** Payloads that stand in the page itself. The first block is decoded at once, the others when they are wanted. */

import type { HeadTensors } from "../head-tensors";
import type { Metadata } from "../metadata";
import { Payload } from "../payload";
import { PayloadError } from "../safetensors";
import { Holdings, type Source } from "../source";
import type { StepTensors } from "../step-tensors";
import { unpack } from "../unpack";

/** A site by its index, and which of its heads there are; null: all. */
export interface Part {
  site: number;
  heads: number[] | null;
}

/** What blocks say that they hold: "2 3:0,4,7" is site 2, and three heads of site 3. */
export function parts(text: string): Part[] {
  return text
    .split(/\s+/)
    .filter(Boolean)
    .map((part) => {
      const [site, heads] = part.split(":");
      return { site: Number(site), heads: heads === undefined ? null : heads.split(",").map(Number) };
    });
}

const promises = (all: Part[], site: number, head: number) =>
  all.some((part) => part.site === site && (part.heads === null || part.heads.includes(head)));

export interface Block {
  text: () => string;
  stride: number;
  /** The sites it holds; null: not said, so it must be opened to know. */
  sites: Part[] | null;
  /** Heads that it has pictures of. */
  pictures?: Part[];
}

/** Blocks that stand below the script, which the browser has not read yet: what they promise, and they. */
export interface Coming {
  sites: Part[];
  pictures?: Part[];
  blocks: Promise<Block[]>;
}

const NONE: Coming = { sites: [], blocks: Promise.resolve([]) };

export class EmbeddedSource implements Source {
  readonly live = false;
  /** What could not be read at first, in words. */
  readonly problems: string[] = [];
  private readonly opened = new Map<Block, Promise<void>>();
  private readonly rest: Block[] = [];
  private promised: Part[];
  private readonly arrived: Promise<void>;
  private pictures: Part[];
  /** Why, of each site that could not be read. */
  private readonly damaged = new Map<number, string>();

  private constructor(
    private readonly holdings: Holdings,
    coming: Coming,
  ) {
    this.promised = [...coming.sites];
    this.pictures = coming.pictures ?? [];
    this.arrived = coming.blocks.then(async (blocks) => {
      await this.take(blocks);
      for (const { site } of this.promised) this.damaged.set(site, CUT);
      this.promised = [];
      this.pictures = this.rest.flatMap(({ pictures }) => pictures ?? []);
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
      promises(this.promised, site, head) ||
      this.rest.some((block) => !this.opened.has(block) && promises(block.sites ?? [], site, head))
    );
  }

  pictured(site: number, head: number): boolean {
    return !this.holds(site, head) && promises(this.pictures, site, head);
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
    if (this.pictured(site, head)) return this.picture(site, head);
    if (promises(this.promised, site, head)) await this.arrived;
    for (const block of this.rest) {
      if (!promises(block.sites ?? [], site, head)) continue;
      await this.unpackBlock(block);
      const tensors = this.holdings.head(site, head);
      if (tensors) return tensors;
    }
    throw new PayloadError(this.damage(site) ?? `Head ${head} of site ${site} is not in this page.`);
  }

  private async picture(site: number, head: number): Promise<HeadTensors> {
    await this.arrived;
    const block = this.rest.find(({ pictures }) => promises(pictures ?? [], site, head));
    try {
      if (!block) throw new PayloadError(CUT);
      await this.unpackBlock(block);
    } catch (error) {
      this.pictures = []; // gone: what is left is shown
      throw error;
    }
    const found = this.holdings.picture(site, head);
    if (found) return found;
    throw new PayloadError(`There is no picture of head ${head} of site ${site} in this page.`);
  }

  /** A block that does not say what it holds is opened to know. */
  private async take(blocks: Block[]): Promise<void> {
    this.rest.push(...blocks);
    this.came(blocks);
    for (const block of blocks)
      if (!block.sites) await this.unpackBlock(block).catch((error) => this.problems.push(partly(error)));
  }

  private came(blocks: Block[]): void {
    const here = new Set(blocks.flatMap(({ sites }) => sites ?? []).map(({ site }) => site));
    this.promised = this.promised.filter(({ site }) => !here.has(site));
  }

  private spoil(block: Block, error: unknown): void {
    for (const { site } of block.sites ?? []) this.damaged.set(site, said(error));
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
