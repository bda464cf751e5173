/** The payload: safetensors bytes plus one JSON string. docs/payload.md is the contract. */

import type { Metadata } from "./metadata";
import { PayloadError, readHeader, Safetensors } from "./safetensors";
import { validate } from "./validate";

/** What tensors are read from. */
export type Tensors = Pick<Payload, "meta" | "has" | "shape" | "floats" | "integers" | "octets">;

/** One payload: its metadata, and its tensors. */
export class Payload extends Safetensors {
  readonly meta: Metadata;

  /** `stride`: see {@link Safetensors}. */
  constructor(bytes: Uint8Array, stride = 1) {
    const header = readHeader(bytes);
    // whose data this is comes first: of another's, no tensor can be expected to be as ours are
    const meta = readMetadata(header.json);
    super(bytes, stride, header);
    validate(meta, this);
    this.meta = meta;
  }
}

function readMetadata(json: Record<string, unknown>): Metadata {
  const own = (json.__metadata__ as Record<string, unknown> | undefined)?.attnscope;
  if (typeof own !== "string") throw new PayloadError("This safetensors data was not written by attnscope.");
  let meta: Metadata;
  try {
    meta = JSON.parse(own);
  } catch {
    throw new PayloadError("The data is damaged: its description cannot be read.");
  }
  if (meta?.format !== "attnscope") throw new PayloadError("This safetensors data was not written by attnscope.");
  if (meta.version !== 1) {
    throw new PayloadError(
      `The data has format version ${String(meta.version)}; this view reads version 1. Update attnscope.`,
    );
  }
  if (!Array.isArray(meta.sites) || meta.sites.length === 0)
    throw new PayloadError("The data describes no attention at all.");
  if (!Array.isArray(meta.tokens) || meta.tokens.length === 0) throw new PayloadError("The data describes no tokens.");
  return meta;
}
