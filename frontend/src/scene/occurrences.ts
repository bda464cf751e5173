/** Where words stand in a text of tokens. */

import type { Label } from "./labels";

/** From a token to a token, both included. */
export interface Occurrence {
  first: number;
  last: number;
}

/** Without capitals and accents, spaces of any kind and number as one. */
const folded = (text: string) =>
  text
    .normalize("NFD")
    .replace(/\p{Mn}/gu, "")
    .toLowerCase()
    .replace(/\s+/gu, " ");

/** In reading order; a word may end within a token, and a phrase may go over several. */
export function occurrences(labels: readonly Label[], wanted: string): Occurrence[] {
  const needle = folded(wanted).trim();
  if (!needle) return [];
  let text = "";
  /** The token of each character. */
  const at: number[] = [];
  const put = (piece: string, token: number) => {
    text += piece;
    for (let i = 0; i < piece.length; i++) at.push(token);
  };
  labels.forEach((label, i) => {
    if (i > 0 && !label.tight && !label.before) put(" ", i);
    put(folded(label.text), i);
  });
  const found: Occurrence[] = [];
  for (let start = text.indexOf(needle); start >= 0; start = text.indexOf(needle, start + needle.length)) {
    const one = { first: at[start], last: at[start + needle.length - 1] };
    const before = found.at(-1);
    if (before?.first !== one.first || before.last !== one.last) found.push(one);
  }
  return found;
}
