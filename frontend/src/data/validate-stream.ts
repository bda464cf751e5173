/** The table of the residual stream against itself and against the shapes of its tensors. */

import { checkCount, damaged, fits, type Shapes, whole } from "./checks";
import type { Metadata, StreamNote } from "./metadata";

const WHAT = "stream";
const MOST = 100_000;

/** Throws a PayloadError, which names the first field that does not fit. */
export function checkStream(meta: Metadata, stream: StreamNote, tensors: Shapes): void {
  for (const name of ["positions", "blocks", "parts", "targets", "lens_text"] as const)
    if (!Array.isArray(stream[name])) throw damaged(WHAT, `${name} should be a list`);
  const { positions, blocks, parts, targets, lens_text: lens, layers } = stream;
  whole(layers, 1, MOST, `${WHAT}, layers`);
  const site = meta.sites.find(({ stack }) => stack === stream.stack);
  const last = (site ? meta.tokens[site.query_tokens] : meta.tokens[0]).text.length - 1;
  positions.forEach((one, i) => {
    whole(one, i ? positions[i - 1] + 1 : 0, last, `${WHAT}, positions`);
  });
  if (!positions.length) throw damaged(WHAT, "it holds no position");
  for (const block of blocks) whole(block?.layer, 0, layers - 1, `${WHAT}, layer of a block`);
  for (const part of parts) {
    if (typeof part?.name !== "string") throw damaged(WHAT, "a part has no name");
    if (part.block !== null) whole(part.block, 0, blocks.length - 1, `${WHAT}, block of a part`);
    if (part.head !== null) whole(part.head, 0, MOST, `${WHAT}, head of a part`);
  }
  if (typeof stream.receipt?.passed !== "boolean") throw damaged(WHAT, "it has no receipt");
  const shapes: Record<string, number[]> = {
    sizes: [positions.length, layers + 1],
    writes: [positions.length, blocks.length],
    turns: [positions.length, blocks.length],
  };
  if (targets.length) {
    checkCount(targets, positions.length, `${WHAT}, targets`);
    const columns = Math.max(0, ...targets.map((row) => row?.length ?? 0));
    for (const row of targets) {
      const none = stream.task === "label" && row?.length === 0; // a label of the whole text stands at one position
      checkCount(row, none ? 0 : columns, `${WHAT}, targets`);
      for (const target of row)
        if (typeof target?.text !== "string" || !Number.isInteger(target.id))
          throw damaged(WHAT, "a target has an id and a text");
    }
    shapes.logits = [positions.length, columns];
    shapes.probabilities = [positions.length, columns];
    if (tensors.has("stream.contributions")) shapes.contributions = [positions.length, parts.length, columns];
  }
  if (lens.length) {
    checkCount(lens, positions.length, `${WHAT}, lens_text`);
    for (const row of lens) checkCount(row, layers + 1, `${WHAT}, lens_text`);
    shapes.lens_probabilities = [positions.length, layers + 1];
  }
  for (const [name, shape] of Object.entries(shapes)) fits(tensors, `stream.${name}`, shape, WHAT);
}
