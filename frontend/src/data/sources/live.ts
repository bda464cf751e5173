/** What a kernel and a server have in common: what is held is given at once, the rest is asked for, each head once. */

import type { BandPiece, EditAnswer, EditQuestion } from "../edits";
import type { HeadTensors } from "../head-tensors";
import type { Metadata } from "../metadata";
import type { Payload } from "../payload";
import { PayloadError, readHeader, Safetensors } from "../safetensors";
import { Holdings, type Source, type TileData, type TilesAsked } from "../source";
import type { StepTensors } from "../step-tensors";

export abstract class LiveSource implements Source {
  readonly live = true;
  private readonly holdings: Holdings;
  private readonly asked = new Map<string, Promise<HeadTensors>>();

  constructor(
    payloads: Payload[],
    readonly who: "kernel" | "server",
  ) {
    this.holdings = new Holdings(payloads[0].meta);
    for (const payload of payloads) this.holdings.add(payload);
  }

  abstract askEdits(question: EditQuestion): Promise<EditAnswer | BandPiece>;
  protected abstract ask(kind: "site" | "steps", site: number, head: number): Promise<Payload>;

  protected abstract askTiles(asked: TilesAsked, signal: AbortSignal): Promise<Uint8Array>;

  async tiles(asked: TilesAsked, signal: AbortSignal): Promise<TileData[]> {
    const bytes = await this.askTiles(asked, signal);
    const header = readHeader(bytes);
    const tensors = new Safetensors(bytes, 1, header);
    const exact = String((header.json.__metadata__ as Record<string, unknown> | undefined)?.exact);
    return asked.tiles.map((_, i) => ({
      values: tensors.floats(`${i}`),
      columns: tensors.shape(`${i}`)[1],
      exact: exact[i] === "1",
    }));
  }

  get meta(): Metadata {
    return this.holdings.meta;
  }

  holds(site: number, head: number): boolean {
    return this.holdings.holds(site, head);
  }

  floats(name: string): Float32Array | null {
    return this.holdings.floats(name);
  }

  octets(name: string): Uint8Array | null {
    return this.holdings.octets(name);
  }

  head(site: number, head: number): HeadTensors | Promise<HeadTensors> {
    const here = this.holdings.head(site, head);
    if (here) return here;
    const name = `${site}.${head}`;
    let asked = this.asked.get(name);
    if (!asked) {
      asked = this.fetchHead(site, head).finally(() => this.asked.delete(name));
      this.asked.set(name, asked);
    }
    return asked;
  }

  stepTensors(site: number, head: number): StepTensors | null {
    return this.holdings.stepTensors(site, head);
  }

  async fetchStepTensors(site: number, head: number): Promise<StepTensors> {
    this.holdings.add(await this.ask("steps", site, head));
    const given = this.holdings.stepTensors(site, head);
    if (!given) throw new PayloadError("This trace keeps neither x nor the projections of that head.");
    return given;
  }

  private async fetchHead(site: number, head: number): Promise<HeadTensors> {
    this.holdings.add(await this.ask("site", site, head));
    const tensors = this.holdings.head(site, head);
    if (!tensors) throw new PayloadError(`The ${this.who} answered without the head that was asked for.`);
    return tensors;
  }
}
