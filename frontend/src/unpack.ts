/** How a page embeds a payload: base64 of deflate of the header and the byte-shuffled data section. */
import { PayloadError } from "./payload";

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const native = (Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  try {
    if (native) return native.call(Uint8Array, text.trim());
    const binary = atob(text.trim());
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  } catch {
    throw new PayloadError("The embedded data is damaged: it is not base64.");
  }
}

export async function inflate(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  try {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new PayloadError("The embedded data is damaged or cut off: it cannot be unpacked.");
  }
}

/** Puts back the order of bytes in the data section; the header stands as it is. */
export function unshuffle(bytes: Uint8Array, stride: number): Uint8Array {
  if (bytes.length < 8) throw new PayloadError("The embedded data is cut off.");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 8 + view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (start > bytes.length || stride < 1 || (bytes.length - start) % stride) {
    throw new PayloadError("The embedded data is damaged: its length does not fit its header.");
  }
  const out = new Uint8Array(bytes.length);
  out.set(bytes.subarray(0, start));
  const n = (bytes.length - start) / stride;
  for (let byte = 0; byte < stride; byte++) {
    const from = start + byte * n;
    for (let i = 0, to = start + byte; i < n; i++, to += stride) out[to] = bytes[from + i];
  }
  return out;
}

export async function unpack(text: string, stride: number): Promise<Uint8Array> {
  const bytes = await inflate(fromBase64(text));
  return stride === 1 ? bytes : unshuffle(bytes, stride);
}
