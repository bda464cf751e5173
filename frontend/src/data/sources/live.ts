/** What a kernel and a server have in common: what is held is given at once, the rest is asked for, each head once. */

import type { HeadTensors } from "../head-tensors";
import type { Metadata } from "../metadata";
import type { Payload } from "../payload";
import { PayloadError } from "../safetensors";
import { Holdings, type Source } from "../source";
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

  protected abstract ask(kind: "site" | "steps", site: number, head: number): Promise<Payload>;

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
