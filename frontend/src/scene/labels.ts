/** Tokens as they are shown. Python spells them (text/spelling.py); the page reads what it wrote. */

import type { TokenTable } from "../data/metadata";

export interface Label {
  index: number;
  /** What is shown for this token alone. */
  text: string;
  /** Its word; empty where the token is all of it. */
  whole: string;
  /** The rest of its word, before and after it; empty for a whole word, and where the tokens are parts of characters. */
  before: string;
  after: string;
  id: number | null;
  special: boolean;
  word: number | null;
  segment: number;
  /** Follows the token before it without a space. */
  tight: boolean;
}

/** A patch's name where names are cut at their end: "frame 12 · 8,2" for "frame 12 patch 8,2". */
export const compact = (text: string) => text.replace(/^((?:(?:image|frame|video) \d+ )+)patch (\d+,\d+)$/, "$1· $2");

export function labels(table: TokenTable): Label[] {
  const shown = table.shown ?? table.text;
  const wordOf = (i: number) => (table.special[i] ? null : (table.words[i] ?? null));
  const out: Label[] = [];
  for (let i = 0; i < shown.length; ) {
    const word = wordOf(i);
    let end = i + 1;
    if (word !== null)
      while (end < shown.length && wordOf(end) === word && table.segments[end] === table.segments[i]) end++;
    const whole = table.whole?.[i] ?? "";
    const spelled = whole !== "" && shown.slice(i, end).join("") === whole;
    for (let j = i, at = 0; j < end; at += shown[j++].length)
      out.push({
        index: j,
        text: shown[j],
        whole,
        before: spelled ? whole.slice(0, at) : "",
        after: spelled ? whole.slice(at + shown[j].length) : "",
        id: table.ids[j] ?? null,
        special: table.special[j] ?? false,
        word,
        segment: table.segments[j] ?? 0,
        tight: table.tight?.[j] ?? false,
      });
    i = end;
  }
  return out;
}

export const LONG = 80; // tokens: a shorter text is seen whole
const AROUND = 4; // tokens on each side

/** The words before and after a run of tokens. */
export function around(labels: readonly Label[], first: number, last: number): [before: string, after: string] {
  const text = (from: number, to: number) =>
    labels
      .slice(Math.max(0, from), to)
      .map((label) => (label.tight ? "" : " ") + label.text)
      .join("");
  const space = first === 0 || labels[first].tight ? "" : " ";
  return [
    (first > AROUND ? "…" : "") + text(first - AROUND, first).trimStart() + space,
    text(last + 1, last + 1 + AROUND) + (last + 1 + AROUND < labels.length ? "…" : ""),
  ];
}

/** A name for a token in a sentence; the sentence adds its position where the text has it twice. */
export function named(label: Label): string {
  const { text, before, after } = label;
  const whole = label.whole || (before || after ? before + text + after : "");
  const name = whole ? `${text} (in ${whole})` : text;
  if (name.length > 60) return `${name.slice(0, 57)}…`;
  return whole ? `${isolated(text)} (in ${isolated(whole)})` : text;
}

/** A token and its word, in a line of plain text. */
export const inLine = (label: Label) => isolated(named(label));

/** The first letter is of a script that is written from the right: Hebrew, Arabic and their kin. */
export const fromRight = (text: string) => /^\P{L}*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/u.test(text);

/** A letter of Hebrew, Arabic and their kin. */
export const RIGHT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/;

const ARABIC = /[\u0620-\u064a\u066e-\u06d3\u06d5\u06ee\u06ef\u06fa-\u06fc\u06ff\u0750-\u077f\u08a0-\u08c7]/;
/** Letters of Arabic that no letter after them joins (Joining_Type R of Unicode), and those that join none. */
const ENDING =
  /[\u0622-\u0625\u0627\u0629\u062f-\u0632\u0648\u0671-\u0673\u0675-\u0677\u0688-\u0699\u06c0\u06c3-\u06cb\u06cd\u06cf\u06d2\u06d3\u06d5\u06ee\u06ef\u0759-\u075b\u076b\u076c\u0771\u0773\u0774\u0778\u0779\u08aa-\u08ac\u08ae\u08b1\u08b2\u08b9]/;
const ALONE = /[\u0621\u0674\u08ad]/;

/** Whether the last letter of a piece and the first of the next join, as within a word of Arabic. */
export function joined(before: string, after: string): boolean {
  const last = before.replace(/\p{M}+$/u, "").slice(-1); // marks stand on their letter
  const first = after.replace(/^\p{M}+/u, "").slice(0, 1);
  return ARABIC.test(last) && ARABIC.test(first) && !ALONE.test(last + first) && !ENDING.test(last);
}

/** Letters that join, as those of Arabic, come apart in fonts of one width. */
export const joins = (text: string) => RIGHT.test(text);

/** A token within a line of plain text: what is written from the right keeps its place there, and numbers after it theirs. */
export const isolated = (text: string) => (RIGHT.test(text) ? `\u2068${text}\u2069` : text);
