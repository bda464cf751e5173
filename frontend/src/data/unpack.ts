/** How a page embeds a payload: base64 of deflate. */

import { declaredLength, PayloadError } from "./safetensors";

const PADDING = 8; // bytes that shuffling may add
/** Numbers are packed by the frequency of their bytes, of which each takes a bit at least; the rest is for headers. */
const RATIO = 8;
const SPARE = 2 ** 26;

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

/** Unpacks no more than the header declares, and refuses a header that declares more than could have been packed. */
export async function inflate(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const inflater = new DecompressionStream("deflate");
  const writer = inflater.writable.getWriter();
  // what is wrong shows on the reading side
  writer.write(packed).catch(() => {});
  writer.close().catch(() => {});
  const reader = inflater.readable.getReader();
  try {
    return await gathered(reader, RATIO * packed.length + SPARE);
  } catch (error) {
    reader.cancel().catch(() => {});
    if (error instanceof PayloadError) throw error;
    throw new PayloadError("The embedded data is damaged or cut off: it cannot be unpacked.");
  }
}

/** All that comes, in one piece. `most`: bytes that it may be. */
async function gathered(reader: ReadableStreamDefaultReader<Uint8Array>, most: number): Promise<Uint8Array> {
  let bytes = new Uint8Array(2 ** 16);
  let length = 0;
  let declared: number | null = null;
  const grow = (size: number) => {
    const larger = new Uint8Array(size);
    larger.set(bytes.subarray(0, length));
    bytes = larger;
  };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return bytes.subarray(0, length);
    if (length + value.length > Math.min(most, declared ?? most))
      throw new PayloadError("The embedded data is damaged: it unpacks to more than its header says.");
    if (length + value.length > bytes.length) grow(Math.max(length + value.length, 2 * bytes.length));
    bytes.set(value, length);
    length += value.length;
    if (declared !== null) continue;
    const known = declaredLength(bytes.subarray(0, length));
    if (known === null) continue;
    declared = known + PADDING;
    if (known > most || length > declared)
      throw new PayloadError("The embedded data is damaged: its header and its length do not fit each other.");
    if (declared > bytes.length) grow(declared);
  }
}

export async function unpack(text: string): Promise<Uint8Array> {
  return inflate(fromBase64(text));
}
