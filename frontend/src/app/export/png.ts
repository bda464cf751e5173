/** Text inside a PNG: an iTXt chunk after the header, as RFC 2083 and its extensions lay it out. */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

export function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

const HEADER_END = 33; // signature 8, IHDR 4 + 4 + 13 + 4

/** The same picture with `text` (UTF-8, uncompressed) under a keyword of printable ASCII. */
export function withText(png: Uint8Array, keyword: string, text: string): Uint8Array<ArrayBuffer> {
  const encode = new TextEncoder();
  // keyword, its end, no compression, method 0, no language, no translated keyword
  const head = [...encode.encode("iTXt"), ...encode.encode(keyword), 0, 0, 0, 0, 0];
  const body = encode.encode(text);
  const data = new Uint8Array(head.length + body.length);
  data.set(head);
  data.set(body, head.length);
  const out = new Uint8Array(png.length + data.length + 8);
  const view = new DataView(out.buffer);
  out.set(png.subarray(0, HEADER_END));
  view.setUint32(HEADER_END, data.length - 4);
  out.set(data, HEADER_END + 4);
  view.setUint32(HEADER_END + 4 + data.length, crc32(data));
  out.set(png.subarray(HEADER_END), HEADER_END + 8 + data.length);
  return out;
}
