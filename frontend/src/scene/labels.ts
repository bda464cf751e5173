/** Tokens as they are shown: words put together again, hidden characters made visible. */

import type { TokenTable } from "../data/metadata";
export interface Label {
  index: number;
  /** What is shown for this token alone. */
  text: string;
  /** The rest of its word, before and after it; empty for a whole word. */
  before: string;
  after: string;
  /** As the tokenizer writes it. */
  raw: string;
  id: number | null;
  special: boolean;
  word: number | null;
  segment: number;
  /** Follows the token before it without a space. */
  tight: boolean;
}

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu;
const PICTURE = "\\u00a9\\u00ae\\u2190-\\u2bff\\u3030\\u303d\\u3297\\u3299\\u{1f000}-\\u{1faff}";
const JOINED = new RegExp(`(?<=[${PICTURE}\\ufe0f])\\u200d(?=[${PICTURE}])`, "gu");

/**
 * Letters and their marks joined (NFC), control and format characters as symbols; a joiner inside an emoji does its work
 * unseen. Python's text/spelling.py follows the same rules: tests/cases/spelling.json has the cases of both.
 */
export function visible(text: string): string {
  const kept = text.normalize("NFC").replace(JOINED, "\ue000");
  const shown = kept.replace(HIDDEN, (c) => {
    const code = c.codePointAt(0) as number;
    if (code === 0xe000) return "\u200d";
    // symbols that most fonts have; the control pictures of Unicode are in few
    if (code === 0x0a) return "↵";
    if (code === 0x09) return "⇥";
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
  if (shown === "") return "⟨empty⟩";
  return shown.trim() === "" ? "␣".repeat(Math.min(shown.length, 8)) : shown;
}

/** The alphabet of byte-level tokenizers, where Ġ is a space: character -> byte. */
const BYTE_OF = (() => {
  const map = new Map<string, number>();
  let extra = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    map.set(String.fromCodePoint(printable ? byte : extra++), byte);
  }
  return map;
})();

function fromByteLevel(text: string): string {
  const bytes = [...text].map((c) => BYTE_OF.get(c));
  if (bytes.every((byte) => byte !== undefined)) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
    } catch {
      // decoded before, or a part of a character
    }
  }
  return text.replaceAll("\u0120", " ").replaceAll("\u010a", "\n").replaceAll("\u0109", "\t");
}

/** The piece without the marks of its place in a word. */
function plain({ text, words }: TokenTable, i: number, byteLevel: boolean): string {
  let piece = text[i];
  if (piece.startsWith("##") && piece.length > 2 && i > 0 && words[i] !== null && words[i] === words[i - 1])
    piece = piece.slice(2);
  if (byteLevel) {
    piece = fromByteLevel(piece);
    return /^ \S/.test(piece) ? piece.slice(1) : piece;
  }
  piece = piece.replace(/<\/w>$|@@$/u, "").replaceAll("\u2581", " ");
  return piece.length > 1 && piece[0] === " " && /[^ ]/.test(piece) ? piece.slice(1) : piece;
}

export function labels(table: TokenTable): Label[] {
  const byteLevel = table.text.some((text) => /^\u0120|^[\u0120\u010a\u0109]+$/u.test(text));
  const pieces = table.text.map((raw, i) => (table.special[i] ? raw : plain(table, i, byteLevel)));
  const wordOf = (i: number) => (table.special[i] ? null : (table.words[i] ?? null));
  const out: Label[] = [];
  for (let i = 0; i < pieces.length; ) {
    const word = wordOf(i);
    let end = i + 1;
    if (word !== null)
      while (end < pieces.length && wordOf(end) === word && table.segments[end] === table.segments[i]) end++;
    const shown = asWritten(pieces.slice(i, end), word === null ? undefined : table.word_text[word]);
    for (let j = i; j < end; j++) {
      const text = visible(shown[j - i]);
      out.push({
        index: j,
        text,
        raw: table.text[j],
        id: table.ids[j] ?? null,
        word,
        tight: isTight(table, j, text),
        before:
          end - i > 1
            ? shown
                .slice(0, j - i)
                .map(visible)
                .join("")
            : "",
        after:
          end - i > 1
            ? shown
                .slice(j - i + 1)
                .map(visible)
                .join("")
            : "",
        special: table.special[j] ?? false,
        segment: table.segments[j] ?? 0,
      });
    }
    i = end;
  }
  return out;
}

const CLOSING = /^[.,;:!?%)\]}\u2026\u2019\u201d]|^['\u2019]\w{0,2}$/u;

/** By the offsets in the text where there are some; else punctuation follows the word before it. */
function isTight(table: TokenTable, i: number, text: string): boolean {
  if (i === 0 || table.special[i] || table.special[i - 1] || table.segments[i] !== table.segments[i - 1]) return false;
  const { offsets } = table;
  if (offsets?.length === table.text.length && offsets[i][1] > offsets[i][0]) {
    return offsets[i][0] === offsets[i - 1][1] && !/^[\s\u0120\u2581]/u.test(table.text[i]);
  }
  return CLOSING.test(text);
}

/** Without accents and capitals. */
const folded = (text: string) =>
  [...text.normalize("NFD").replace(/\p{Mn}/gu, "")].map((c) => c.toLowerCase()).join("");

/** The pieces with the capitals and accents of the text, where they spell its word. */
function asWritten(pieces: string[], written: string | undefined): string[] {
  if (!written) return pieces;
  if (pieces.length === 1) return [written];
  const letters = written.normalize("NFC").match(/[\p{Mn}\p{Mc}\p{Me}]+|.[\p{Mn}\p{Mc}\p{Me}]*/gsu) ?? [];
  const sizes = letters.map((letter) => folded(letter));
  const wanted = pieces.map(folded);
  if (sizes.join("") !== wanted.join("") || wanted.includes("")) return pieces;
  const shown: string[] = [];
  let at = 0;
  for (const { length } of wanted) {
    const start = at;
    let size = 0;
    while (size < length) size += sizes[at++].length;
    if (size > length) return pieces; // a letter of the text stands in two pieces
    shown.push(letters.slice(start, at).join(""));
  }
  return shown;
}

/** A name for a token in a sentence: its position is said where the text has it twice. */
export function named(label: Label): string {
  const whole =
    label.before || label.after ? `${label.text} (in ${label.before}${label.text}${label.after})` : label.text;
  return whole.length > 60 ? `${whole.slice(0, 57)}…` : whole;
}

/** The first letter is of a script that is written from the right: Hebrew, Arabic and their kin. */
export const fromRight = (text: string) => /^\P{L}*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/u.test(text);

const RIGHT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/;

/** Letters that join, as those of Arabic, come apart in fonts of one width. */
export const joins = (text: string) => RIGHT.test(text);

/** A token within a line of plain text: what is written from the right keeps its place there, and numbers after it theirs. */
export const isolated = (text: string) => (RIGHT.test(text) ? `\u2068${text}\u2069` : text);
