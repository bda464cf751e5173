/** Edits of heads as data: `off_L2H8`. Python has its own copy, views/head_edits.py; tests/cases/head_edits.json holds the two together. */

export interface HeadEdit {
  verb: "off" | "times" | "cut" | "weights" | "patch";
  layer: number;
  /** None: all of the layer. */
  heads: number[];
  query: number | null;
  key: number | null;
  /** The factor of times, the weight of weights. */
  number: number | null;
  stack: string | null;
}

const FORM =
  /^([a-z]+)_L(\d{1,9})((?:H\d{1,9})*)(?:_q(\d{1,9}))?(?:_k(\d{1,9}))?(?:_x(-?\d{1,9}(?:\.\d{1,9})?))?(?:_in_([\w.-]{1,80}))?$/;
/** What a verb names beside its heads. */
const TAKES: Record<HeadEdit["verb"], RegExp> = {
  off: /^$/,
  times: /^x$/,
  cut: /^q?k$/,
  weights: /^qkx$/,
  patch: /^$/,
};
/** Edits at once. */
export const MOST_EDITS = 64;

/** Null for a text that names none. */
export function parseEdit(text: string): HeadEdit | null {
  const found = FORM.exec(text);
  if (!found) return null;
  const [verb, layer, heads, query, key, number, stack] = found.slice(1) as [HeadEdit["verb"], ...string[]];
  if (!TAKES[verb]?.test([query && "q", key && "k", number && "x"].join(""))) return null;
  if (verb === "weights" && !(Number(number) >= 0 && Number(number) <= 1)) return null;
  const count = (digits: string | undefined) => (digits === undefined ? null : Number(digits));
  return {
    verb,
    layer: Number(layer),
    heads: [...new Set(heads.split("H").slice(1).map(Number))],
    query: count(query),
    key: count(key),
    number: count(number),
    stack: stack ?? null,
  };
}

const written = (number: number) => String(Number(number.toFixed(6)));

/** As an address holds it. */
export function editText({ verb, layer, heads, query, key, number, stack }: HeadEdit): string {
  const parts = [verb, `L${layer}${heads.map((head) => `H${head}`).join("")}`];
  if (query !== null) parts.push(`q${query}`);
  if (key !== null) parts.push(`k${key}`);
  if (number !== null) parts.push(`x${written(number)}`);
  if (stack !== null) parts.push(`in_${stack}`);
  return parts.join("_");
}

/** For people; `token`: names a position. */
export function editSaid(edit: HeadEdit, token: (position: number) => string = String): string {
  const { verb, layer, heads, query, key, stack } = edit;
  const place = heads.length ? heads.map((head) => `L${layer}H${head}`).join(", ") : `layer ${layer}`;
  const number = written(edit.number ?? 0).replace("-", "\u2212");
  const pair = key === null ? "" : `${query === null ? "all" : token(query)} \u2192 ${token(key)} `;
  const what = {
    off: "off",
    times: `\u00d7 ${number}`,
    cut: `${pair}cut`,
    weights: `${pair}weight ${number}`,
    patch: "from the other text",
  }[verb];
  return `${stack === null ? "" : `${stack} `}${place} ${what}`;
}

/** The line of Python that makes it. `patch`: what stands in the brackets of a patch. */
export function editCode({ verb, layer, heads, query, key, number, stack }: HeadEdit, patch = "trace"): string {
  const of = stack === null ? "" : `, stack="${stack}"`;
  const names = heads.map((head) => `"L${layer}H${head}"`).join(", ");
  const chosen = heads.length ? `head${heads.length > 1 ? "s" : ""}(${names}${of})` : `layers(${layer}${of})`;
  const given = [
    number === null ? "" : written(number),
    query === null ? "" : `query=${query}`,
    key === null ? "" : `key=${key}`,
    verb === "patch" ? patch : "",
  ].filter(Boolean);
  return `edit.${chosen}.${verb}(${given.join(", ")})`;
}

/** Whether it names tokens of a text. */
export const hasPlace = (text: string): boolean => parseEdit(text)?.key !== null;

/** Edits that go along to another text: those of heads. Those of a pair are its `own`, which it had before. */
export function carried(edits: string[], own: string[]): string[] {
  const [now, before] = [edits, own].map((all) => all.filter((one) => !hasPlace(one)));
  return String(now) === String(before) ? own : [...now, ...own.filter(hasPlace)];
}

/** Whether it is of this head. */
export const isOf = (edit: HeadEdit, stack: string | null, layer: number, head: number): boolean =>
  edit.layer === layer && (edit.stack ?? stack) === stack && (!edit.heads.length || edit.heads.includes(head));

/** What two edits share that cannot hold at once: what a head writes, or the weight of one pair. */
const slot = ({ verb, stack, layer, heads, query, key }: HeadEdit) =>
  `${verb === "cut" || verb === "weights" ? `${query} ${key}` : "z"} ${stack} ${layer} ${heads}`;

/** The edits with this one, in the place of the one that it replaces. */
export function withEdit(edits: string[], edit: HeadEdit): string[] {
  const [text, own] = [editText(edit), slot(edit)];
  const at = edits.findIndex((one) => slot(parseEdit(one) as HeadEdit) === own);
  return at < 0 ? [...edits, text] : edits.map((one, i) => (i === at ? text : one));
}

/** The edit of a head's output that holds for it alone, if any. */
export function editOf(edits: string[], edit: HeadEdit): HeadEdit | null {
  const own = slot(edit);
  return edits.map((one) => parseEdit(one) as HeadEdit).find((one) => slot(one) === own) ?? null;
}

/** The edits with this one where it was not, and without it where it was. */
export function toggled(edits: string[], edit: HeadEdit): string[] {
  const text = editText(edit);
  return edits.includes(text) ? edits.filter((one) => one !== text) : withEdit(edits, edit);
}

export const ofHead = (verb: HeadEdit["verb"], stack: string | null, layer: number, head: number): HeadEdit => ({
  verb,
  layer,
  heads: [head],
  query: null,
  key: null,
  number: null,
  stack,
});
