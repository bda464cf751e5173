/** A server: one request for a text, and one for each layer of it that is looked at. */

import { parse, type State } from "../../base/state";
import type { BandPiece, EditAnswer, EditQuestion } from "../edits";
import { Payload } from "../payload";
import { PayloadError } from "../safetensors";
import type { TilesAsked } from "../source";
import { LiveSource } from "./live";

/** What is to be read. */
export interface Question {
  model: string;
  text: string;
  pair: string;
  truncate: boolean;
}

/** An answer that is not data, in the server's words. */
export class Refused extends Error {
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }
}

const SILENT =
  "The server does not answer: it was stopped, or the way to it is broken. What is already here stays; ask again when it runs.";
/** Asked again so often where the server is busy, after as long as it says. */
const TRIES = 6;

/** Bytes, or why there are none. Busy servers are asked again: nothing is lost by waiting in line. */
async function ask(address: string, init: RequestInit): Promise<Response> {
  for (let tries = 1; ; tries++) {
    let response: Response;
    try {
      response = await fetch(address, { ...init, credentials: "same-origin" });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new Refused("silent", SILENT);
    }
    if (response.ok) return response;
    const after = Number(response.headers.get("retry-after") || Number.NaN);
    if (tries < TRIES && after <= 60) {
      // not all at the same moment
      await new Promise((resolve) => setTimeout(resolve, after * 1000 * (0.5 + Math.random())));
      init.signal?.throwIfAborted();
      continue;
    }
    const said = await response.json().catch(() => ({}));
    throw new Refused(said.kind ?? "http", said.message ?? `The server answered ${response.status}.`);
  }
}

export interface Opened {
  source: HttpSource;
  state: Partial<State>;
}

/** JSON to the server, and what it answers. */
const post = (address: string, body: object, signal?: AbortSignal) =>
  ask(address, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

/** Has a text read. `place`: the chosen layer and head, if any. */
export async function read(question: Question, place: Partial<State>, signal?: AbortSignal): Promise<Opened> {
  const { layer, head, query, stack } = place;
  const response = await post("api/trace", { ...question, layer, head, query, stack }, signal);
  const payload = new Payload(new Uint8Array(await response.arrayBuffer()));
  const { state } = parse(Object.entries(JSON.parse(response.headers.get("attnscope-state") ?? "{}")));
  return { source: new HttpSource(payload, response.headers.get("attnscope-id") ?? "", question), state };
}

export class HttpSource extends LiveSource {
  private readonly closing = new AbortController();

  constructor(
    first: Payload,
    private readonly id: string,
    readonly question: Question,
  ) {
    super([first], "server");
  }

  /** Withdraws what is still being waited for. */
  destroy(): void {
    this.closing.abort(new PayloadError("The view was closed."));
  }

  /** With the text, which the server reads again where it no longer keeps it. */
  async askEdits(question: EditQuestion): Promise<EditAnswer | BandPiece> {
    const response = await post("api/edits", { ...this.question, ...question }, this.closing.signal);
    return response.json();
  }

  protected async ask(kind: "site" | "steps", site: number, head: number): Promise<Payload> {
    return new Payload(await this.bytes("site", { kind, site, head }, this.closing.signal));
  }

  protected askTiles({ site, head, tiles, coarse }: TilesAsked, signal: AbortSignal): Promise<Uint8Array> {
    const places = tiles.map((place) => place.join(".")).join(",");
    return this.bytes("tiles", { site, head, tiles: places, coarse: Number(coarse) }, signal);
  }

  /** A text that the server no longer keeps is read again, by itself. */
  private async bytes(what: string, asked: object, signal: AbortSignal, again = true): Promise<Uint8Array> {
    const query = new URLSearchParams({ id: this.id });
    for (const [name, value] of Object.entries(asked)) query.set(name, String(value));
    try {
      const response = await ask(`api/${what}?${query}`, { signal });
      return new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      if (!again || !(error instanceof Refused) || error.kind !== "gone") throw error;
      await read(this.question, {}, signal);
      return this.bytes(what, asked, signal, false);
    }
  }
}
