/** A live notebook: what the widget holds, and one request to the kernel for each site that it does not. */

import type { BandPiece, EditAnswer, EditQuestion } from "../edits";
import { Payload } from "../payload";
import { PayloadError } from "../safetensors";
import type { TilesAsked } from "../source";
import { LiveSource } from "./live";

export interface Reply {
  id: number;
  kind: "reply" | "error" | "cancel" | "progress";
  message?: string;
  answer?: unknown;
}

/** What a notebook's comm looks like from here. */
export interface Channel {
  send(message: object): void;
  listen(listener: (reply: Reply, buffers: ArrayBufferView[]) => void): () => void;
  /** False where the host knows that the connection is closed. */
  alive?(): boolean;
}

interface Pending {
  resolve: (answer: { reply: Reply; buffers: ArrayBufferView[] }) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

export const SILENT =
  "The kernel does not answer: it is busy, or it is no longer running. What is already here stays; run the cell again for the rest.";

export const GONE =
  "The kernel of this view is no longer running, or was restarted. What is already here stays and can be looked at; run the cell again for the rest.";

export class CommSource extends LiveSource {
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;
  private readonly stop: () => void;

  constructor(
    blocks: Uint8Array[],
    private readonly channel: Channel,
    private readonly timeout = 30_000,
    /** Of a comparison the second trace: its requests say so, and are numbered downwards. */
    private readonly side: "a" | "b" = "a",
  ) {
    if (blocks.length === 0) throw new PayloadError("This widget holds no data. Run its cell again.");
    super(
      blocks.map((bytes) => new Payload(bytes)),
      "kernel",
    );
    this.stop = channel.listen((reply, buffers) => this.receive(reply, buffers));
  }

  /** Withdraws what is still being waited for. */
  destroy(): void {
    this.stop();
    for (const id of [...this.pending.keys()]) this.withdraw(id, new PayloadError("The view was closed."));
  }

  private withdraw(id: number, why: Error): void {
    const pending = this.settle(id);
    if (!pending) return;
    try {
      this.channel.send({ id, kind: "cancel" });
    } catch {
      // the kernel is gone already
    }
    pending.reject(why);
  }

  /** The kernel is gone: nothing that was asked for will come. */
  lose(): void {
    for (const id of [...this.pending.keys()]) this.settle(id)?.reject(new PayloadError(GONE));
  }

  async askEdits(question: EditQuestion): Promise<EditAnswer | BandPiece> {
    const { reply } = await this.request({ kind: "edits", ...question });
    return reply.answer as EditAnswer | BandPiece;
  }

  protected async ask(kind: "site" | "steps", site: number, head: number): Promise<Payload> {
    return new Payload(await this.bytes({ kind, site, head }));
  }

  protected askTiles(asked: TilesAsked, signal: AbortSignal): Promise<Uint8Array> {
    return this.bytes({ kind: "tiles", ...asked }, signal);
  }

  private async bytes(message: object, signal?: AbortSignal): Promise<Uint8Array> {
    const { buffers } = await this.request(message, signal);
    if (!buffers?.length) throw new PayloadError("The kernel answered without data.");
    return octetsOf(buffers[0]);
  }

  private async request(message: object, signal?: AbortSignal): Promise<{ reply: Reply; buffers: ArrayBufferView[] }> {
    if (this.channel.alive?.() === false) throw new PayloadError(GONE);
    return new Promise((resolve, reject) => {
      const id = this.side === "b" ? -this.nextId++ : this.nextId++;
      this.pending.set(id, { resolve, reject, timer: this.patience(id) });
      signal?.addEventListener("abort", () => this.withdraw(id, signal.reason), { once: true });
      try {
        this.channel.send({ id, ...message, ...(this.side === "b" && { side: "b" }) });
      } catch {
        this.settle(id)?.reject(new PayloadError(SILENT));
      }
    });
  }

  private patience(id: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.settle(id)?.reject(new PayloadError(SILENT)), this.timeout);
  }

  private settle(id: number): Pending | undefined {
    const pending = this.pending.get(id);
    if (pending) clearTimeout(pending.timer);
    this.pending.delete(id);
    return pending;
  }

  private receive(reply: Reply, buffers: ArrayBufferView[]): void {
    const waiting = reply?.kind === "progress" && this.pending.get(reply.id);
    if (waiting) {
      clearTimeout(waiting.timer);
      waiting.timer = this.patience(reply.id);
    }
    if (reply?.kind === "progress") return;
    const pending = this.settle(reply?.id);
    if (!pending) return;
    if (reply.kind !== "reply") {
      pending.reject(new PayloadError(reply.message || "The kernel could not answer."));
      return;
    }
    pending.resolve({ reply, buffers });
  }
}

export function octetsOf(view: ArrayBufferView | ArrayBuffer): Uint8Array {
  return view instanceof ArrayBuffer
    ? new Uint8Array(view)
    : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
