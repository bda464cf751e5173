/** How a page embeds a payload: base64 of deflate. */

import { PayloadError } from "./safetensors";
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
    const inflater = new DecompressionStream("deflate");
    const writer = inflater.writable.getWriter();
    // what is wrong shows on the reading side
    writer.write(packed).catch(() => {});
    writer.close().catch(() => {});
    return new Uint8Array(await new Response(inflater.readable).arrayBuffer());
  } catch {
    throw new PayloadError("The embedded data is damaged or cut off: it cannot be unpacked.");
  }
}

export async function unpack(text: string): Promise<Uint8Array> {
  return inflate(fromBase64(text));
}
