/** A description against itself and against the shapes of its tensors, before anything is made of its numbers. */

import { checkCount, damaged, fits, type Shapes, whole } from "./checks";
import type { Metadata, Site, TokenTable } from "./metadata";
import { PayloadError } from "./safetensors";
import { checkStream } from "./validate-stream";

/** Numbers of sites that hold no tensors have nothing to be compared with; no model comes near these. */
const MOST = { heads: 65_536, layer: 100_000, size: 1 << 24, allHeads: 1 << 20 };

/** Throws a PayloadError, which names the first field that does not fit. */
export function validate(meta: Metadata, tensors: Shapes): void {
  for (const [number, table] of meta.tokens.entries()) checkTokens(table, `token table ${number}`);
  let heads = 0;
  for (const [index, site] of meta.sites.entries()) {
    const what = `site ${index}`;
    if (typeof site !== "object" || site === null) throw damaged(what, "it is no table of entries");
    checkNumbers(site, what);
    checkAxes(meta, site, what);
    heads += site.heads;
    if (heads > MOST.allHeads) throw damaged(what, `there are more than ${MOST.allHeads} heads`);
    if (site.thumb) fits(tensors, site.thumb.tensor, [site.heads, site.thumb.rows, site.thumb.columns], what);
    if (site.picture) checkPicture(site, site.picture, tensors, what);
    for (const [name, values] of Object.entries(site.stats ?? {})) checkCount(values, site.heads, `${what}, ${name}`);
    if (site.roles) checkRoles(site, what);
    if (site.links) checkCount(site.links, site.heads, `${what}, links`);
    if (site.held) checkHeld(site, tensors, what);
  }
  if (meta.stream) checkStream(meta, meta.stream, tensors);
}

function checkRoles({ roles, heads }: Site, what: string): void {
  checkCount(roles, heads, `${what}, roles`);
  for (const role of roles?.flat() ?? [])
    if (typeof role?.name !== "string" || typeof role.sentence !== "string" || typeof role.value !== "number")
      throw damaged(`${what}, roles`, "a role has a name, a sentence and a value");
}

function checkPicture(
  site: Site,
  { tensor, heads, rows, columns }: NonNullable<Site["picture"]>,
  tensors: Shapes,
  what: string,
): void {
  if (!Array.isArray(heads) || !heads.length) throw damaged(what, "heads of a picture should be a list");
  for (const head of heads) whole(head, 0, site.heads - 1, `${what}, heads of a picture`);
  whole(rows, 1, site.queries, `${what}, rows of a picture`);
  whole(columns, 1, site.keys, `${what}, columns of a picture`);
  fits(tensors, tensor, [heads.length, rows, columns], what);
}

function checkTokens(table: TokenTable, what: string): void {
  if (!Array.isArray(table?.text) || !table.text.every((text) => typeof text === "string"))
    throw damaged(what, "text should be a list of texts");
  const count = table.text.length;
  for (const name of ["ids", "special", "words", "segments", "offsets"] as const) {
    const values = table[name] ?? [];
    if (!Array.isArray(values) || values.length) checkCount(values, count, `${what}, ${name}`);
  }
  if (table.sound) whole(table.sound.positions, 1, count, `${what}, sound`);
  if (!Array.isArray(table.word_text) || !table.word_text.every((text) => typeof text === "string"))
    throw damaged(what, "word_text should be a list of texts");
  const words = table.word_text.length || count;
  for (const word of table.words ?? []) if (word !== null) whole(word, 0, words - 1, `${what}, words`);
}

function checkNumbers(site: Site, what: string): void {
  whole(site.index, 0, Number.MAX_SAFE_INTEGER, `${what}, index`);
  whole(site.layer, 0, MOST.layer, `${what}, layer`);
  whole(site.heads, 1, MOST.heads, `${what}, heads`);
  whole(site.kv_heads, 1, site.heads, `${what}, kv_heads`);
  if (site.heads % site.kv_heads) throw damaged(what, "heads is no multiple of kv_heads");
  for (const name of ["queries", "keys"] as const) whole(site[name], 1, MOST.size, `${what}, ${name}`);
  for (const name of ["head_size", "value_size"] as const) whole(site[name], 0, MOST.size, `${what}, ${name}`);
  whole(site.query_offset ?? 0, 0, MOST.size, `${what}, query_offset`);
  if (typeof site.mask !== "object" || site.mask === null) throw damaged(what, "it has no mask");
  for (const name of ["lower", "upper"] as const)
    if (site.mask[name] !== null)
      whole(site.mask[name], Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, `${what}, mask ${name}`);
}

function checkAxes(meta: Metadata, site: Site, what: string): void {
  const [queries, keys] = [meta.tokens[site.query_tokens], meta.tokens[site.key_tokens]];
  if (!queries || !keys) throw damaged(what, "there is no such table of tokens");
  if (queries.text.length < site.queries + (site.query_offset ?? 0) || keys.text.length < site.keys)
    throw new PayloadError(`The data is damaged: ${site.path} has more queries or keys than there are tokens.`);
}

/** The heads and the tensors that these bytes hold of a site. */
function checkHeld(site: Site, tensors: Shapes, what: string): void {
  const { heads, kv_heads, queries, keys, head_size, value_size, mask } = site;
  const held = site.held?.heads;
  if (!Array.isArray(held) || !held.length || held.length > heads) throw damaged(what, "held heads should be a list");
  for (const head of held) whole(head, 0, heads - 1, `${what}, held heads`);
  const groups = new Set(held.map((head) => Math.floor(head / (heads / kv_heads)))).size;
  const own = (name: string) => `s${site.index}.${name}`;
  if (site.weights_only) fits(tensors, own("weights"), [held.length, queries, keys], what);
  else {
    if (!head_size || !value_size) throw damaged(what, "its vectors have no numbers");
    fits(tensors, own("q"), [held.length, queries, head_size], what);
    fits(tensors, own("k"), [groups, keys, head_size], what);
    fits(tensors, own("v"), [groups, keys, value_size], what);
  }
  if (mask.keys !== null) fits(tensors, mask.keys, [keys], what);
  if (mask.rows !== null) fits(tensors, mask.rows, [queries], what);
  if (mask.packed !== null) fits(tensors, mask.packed, [[1, heads], queries, Math.ceil(keys / 8)], what);
  if (site.bias) {
    const { form, tensor } = site.bias;
    const parts = tensors.has(tensor) ? tensors.shape(tensor)[1] : 1;
    const axes = form === "blocks" ? [parts, queries / parts, keys / parts] : [queries, keys];
    fits(tensors, tensor, [[1, heads], ...(form === "diagonals" ? [queries + keys - 1] : axes)], what);
  }
  if (site.sinks !== null) fits(tensors, site.sinks, [heads], what);
  if (tensors.has(own("norms"))) fits(tensors, own("norms"), [held.length, keys], what);
}
