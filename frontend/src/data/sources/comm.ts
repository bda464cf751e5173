/** A live notebook: what the widget holds, and one request to the kernel for each site that it does not. */

import { Payload } from "../payload";
import { PayloadError } from "../safetensors";
import { LiveSource } from "./live";

export interface Reply {
  id: number;
  kind: "reply" | "error" | "cancel";
  message?: string;
}

/** What a notebook's comm looks like from here. */
export interface Channel {
  send(message: object): void;
  listen(listener: (reply: Reply, buffers: ArrayBufferView[]) => void): () => void;
  /** False where the host knows that the connection is closed. */
  alive?(): boolean;
}

interface Pending {
  resolve: (payload: Payload) => void;
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
    for (const [id, { reject, timer }] of this.pending) {
      clearTimeout(timer);
      try {
        this.channel.send({ id, kind: "cancel" });
      } catch {
        // the kernel is gone already
      }
      reject(new PayloadError("The view was closed."));
    }
    this.pending.clear();
  }

  /** The kernel is gone: nothing that was asked for will come. */
  lose(): void {
    for (const id of [...this.pending.keys()]) this.settle(id)?.reject(new PayloadError(GONE));
  }

  protected async ask(kind: "site" | "steps", site: number, head: number): Promise<Payload> {
    if (this.channel.alive?.() === false) throw new PayloadError(GONE);
    return new Promise<Payload>((resolve, reject) => {
      const id = this.side === "b" ? -this.nextId++ : this.nextId++;
      const timer = setTimeout(() => this.settle(id)?.reject(new PayloadError(SILENT)), this.timeout);
      this.pending.set(id, { resolve, reject, timer });
      try {
        this.channel.send({ id, kind, site, head, ...(this.side === "b" && { side: "b" }) });
      } catch {
        this.settle(id)?.reject(new PayloadError(SILENT));
      }
    });
  }

  private settle(id: number): Pending | undefined {
    const pending = this.pending.get(id);
    if (pending) clearTimeout(pending.timer);
    this.pending.delete(id);
    return pending;
  }

  private receive(reply: Reply, buffers: ArrayBufferView[]): void {
    const pending = this.settle(reply?.id);
    if (!pending) return;
    if (reply.kind !== "reply") {
      pending.reject(new PayloadError(reply.message || "The kernel could not answer."));
      return;
    }
    try {
      if (!buffers?.length) throw new PayloadError("The kernel answered without data.");
      pending.resolve(new Payload(octetsOf(buffers[0])));
    } catch (error) {
      pending.reject(error as Error);
    }
  }
}

export function octetsOf(view: ArrayBufferView | ArrayBuffer): Uint8Array {
  return view instanceof ArrayBuffer
    ? new Uint8Array(view)
    : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
