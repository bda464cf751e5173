/** The format safetensors: a header in JSON, then the bytes of the tensors. */

/** Something is wrong with the bytes; the message is meant to be read by people. */
export class PayloadError extends Error {
  override name = "PayloadError";
}

type Dtype = "F64" | "F32" | "F16" | "BF16" | "I64" | "I32" | "U8";
const BYTES: Record<Dtype, number> = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1 };

interface Entry {
  dtype: Dtype;
  shape: number[];
  start: number;
  end: number;
}

export interface Header {
  /** Tensors, and `__metadata__`. */
  json: Record<string, unknown>;
  dataStart: number;
}

const product = (shape: number[]) => shape.reduce((total, size) => total * size, 1);

/** Tensors by name, each decoded when it is asked for. */
export class Safetensors {
  private readonly entries = new Map<string, Entry>();
  private readonly read = new Map<string, Uint8Array>();
  private readonly dataStart: number;
  /** Bytes of the data section that are the first of `stride`; as many follow that are the second, and so on. */
  private readonly plane: number;

  /** In a page the bytes of the data section are shuffled: of each `stride` the first, then of each the second … */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly stride = 1,
    header: Header = readHeader(bytes),
  ) {
    this.dataStart = header.dataStart;
    this.plane = (bytes.length - header.dataStart) / stride;
    if (!(stride >= 1) || !Number.isInteger(this.plane))
      throw new PayloadError("The data is damaged: its length does not fit its header.");
    for (const [name, value] of Object.entries(header.json)) {
      if (name !== "__metadata__") this.entries.set(name, readEntry(name, value, header.dataStart, bytes.length));
    }
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  shape(name: string): number[] {
    return this.entry(name).shape;
  }

  /** The whole tensor, or only its part `index` along the first axis. */
  floats(name: string, index?: number): Float32Array {
    const entry = this.entry(name);
    const { bytes, count } = this.slice(entry, index);
    if (entry.dtype === "F32") return new Float32Array(bytes.buffer, 0, count);
    if (entry.dtype === "F64") return Float32Array.from(new Float64Array(bytes.buffer, 0, count));
    if (entry.dtype === "F16") return fromHalf(new Uint16Array(bytes.buffer, 0, count));
    if (entry.dtype === "BF16") return fromBfloat(new Uint16Array(bytes.buffer, 0, count));
    throw new PayloadError(`Tensor ${name} holds ${entry.dtype} where numbers with a fraction are expected.`);
  }

  integers(name: string): Int32Array {
    const entry = this.entry(name);
    const { bytes, count } = this.slice(entry);
    if (entry.dtype === "I32") return new Int32Array(bytes.buffer, 0, count);
    if (entry.dtype === "I64") return Int32Array.from(new BigInt64Array(bytes.buffer, 0, count), Number);
    throw new PayloadError(`Tensor ${name} holds ${entry.dtype} where whole numbers are expected.`);
  }

  octets(name: string): Uint8Array {
    const entry = this.entry(name);
    if (entry.dtype !== "U8") throw new PayloadError(`Tensor ${name} holds ${entry.dtype} where bytes are expected.`);
    const known = this.read.get(name) ?? this.part(entry.start, entry.end);
    this.read.set(name, known);
    return known;
  }

  private entry(name: string): Entry {
    const entry = this.entries.get(name);
    if (!entry) throw new PayloadError(`Tensor ${name} is missing from the data.`);
    return entry;
  }

  /** A copy: the data section need not be aligned. */
  private slice(entry: Entry, index?: number): { bytes: Uint8Array<ArrayBuffer>; count: number } {
    const size = BYTES[entry.dtype];
    let { start, end } = entry;
    if (index !== undefined) {
      const part = product(entry.shape.slice(1)) * size;
      if (!(index >= 0 && index < entry.shape[0]))
        throw new PayloadError(`Part ${index} is outside a tensor of shape [${entry.shape}].`);
      start += index * part;
      end = start + part;
    }
    return { bytes: this.part(start, end), count: (end - start) / size };
  }

  /** A copy in order: only what is asked for is put back into its order. */
  private part(start: number, end: number): Uint8Array<ArrayBuffer> {
    const { bytes, stride, plane, dataStart } = this;
    if (stride === 1) return bytes.slice(start, end);
    const out = new Uint8Array(end - start);
    const first = start - dataStart;
    for (let byte = 0; byte < stride; byte++) {
      let to = (((byte - first) % stride) + stride) % stride;
      let from = dataStart + byte * plane + (first + to - byte) / stride;
      for (; to < out.length; to += stride) out[to] = bytes[from++];
    }
    return out;
  }
}

const LONGEST_HEADER = 2 ** 28; // bytes: the names of a text of a million tokens are a tenth of it

/** How long the whole is by its first bytes; null where these do not hold the header. */
export function declaredLength(bytes: Uint8Array): number | null {
  if (bytes.length < 8) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length > LONGEST_HEADER)
    throw new PayloadError("The data is damaged: its header would be longer than any that attnscope writes.");
  if (bytes.length < 8 + length) return null;
  const { json, dataStart } = readHeader(bytes);
  let end = 0;
  for (const [name, value] of Object.entries(json))
    if (name !== "__metadata__") end = Math.max(end, readEntry(name, value, 0, Number.POSITIVE_INFINITY).end);
  return dataStart + end;
}

export function readHeader(bytes: Uint8Array): Header {
  if (bytes.length < 8) throw new PayloadError("The data is cut off: it is shorter than its own header.");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length > bytes.length - 8) {
    throw new PayloadError(
      "The data is cut off, or it is not an attnscope payload: its header is longer than the data itself.",
    );
  }
  try {
    const json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return { json, dataStart: 8 + length };
  } catch {
    // the error below covers both
  }
  throw new PayloadError("The data is damaged: its header cannot be read.");
}

function readEntry(name: string, value: unknown, dataStart: number, total: number): Entry {
  const {
    dtype,
    shape,
    data_offsets: offsets,
  } = (value ?? {}) as { dtype: Dtype; shape: number[]; data_offsets: number[] };
  const whole = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every((n) => Number.isInteger(n) && n >= 0);
  if (!whole(shape) || !whole(offsets) || offsets.length !== 2)
    throw new PayloadError(`The data is damaged: tensor ${name} has no shape.`);
  if (!(dtype in BYTES)) throw new PayloadError(`Tensor ${name} holds ${String(dtype)}, which this view cannot read.`);
  const [start, end] = offsets.map((offset) => offset + dataStart);
  if (end > total) throw new PayloadError(`The data is cut off: tensor ${name} ends after the last byte.`);
  if (end - start !== product(shape) * BYTES[dtype])
    throw new PayloadError(`The data is damaged: tensor ${name} does not fit its shape.`);
  return { dtype, shape, start, end };
}

/** IEEE half precision, subnormal numbers, infinities and NaN included. */
export function fromHalf(bits: Uint16Array<ArrayBuffer>): Float32Array {
  const { Float16Array } = globalThis as {
    Float16Array?: new (buffer: ArrayBuffer, from: number, n: number) => ArrayLike<number>;
  };
  if (Float16Array) return new Float32Array(new Float16Array(bits.buffer, bits.byteOffset, bits.length));
  const out = new Float32Array(bits.length);
  const powers = Float64Array.from({ length: 32 }, (_, exponent) => 2 ** (exponent - 25));
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i];
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    const size =
      exponent === 31
        ? fraction
          ? Number.NaN
          : Number.POSITIVE_INFINITY
        : exponent === 0
          ? fraction * 2 ** -24
          : (1024 + fraction) * powers[exponent];
    out[i] = half & 0x8000 ? -size : size;
  }
  return out;
}

/** bfloat16 is the upper half of a float32. */
export function fromBfloat(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i] << 16;
  return new Float32Array(wide.buffer);
}
