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
const JOINED = /(?<=\p{Extended_Pictographic}|\p{Emoji_Modifier}|\ufe0f)\u200d(?=\p{Extended_Pictographic})/gu;

/** Control and format characters as symbols; a joiner inside an emoji does its work unseen. */
export function visible(text: string): string {
  const kept = text.replace(JOINED, "\ue000");
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
  if (bytes.some((byte) => byte === undefined)) return text;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes as number[]));
  } catch {
    return text; // a part of a character
  }
}

export function labels(table: TokenTable): Label[] {
  const byteLevel = table.text.some((text) => text.startsWith("Ġ"));
  const pieces = table.text.map((raw, i) => {
    if (table.special[i]) return raw;
    let text = byteLevel ? fromByteLevel(raw) : raw;
    if (text.startsWith("##") && text.length > 2 && table.words[i] !== null && table.words[i] === table.words[i - 1])
      text = text.slice(2);
    text = text.replace(/^\u2581(?=.)|<\/w>$|@@$/gu, "");
    return byteLevel && /^ \S/.test(text) ? text.slice(1) : text;
  });
  const out: Label[] = [];
  for (let i = 0; i < pieces.length; ) {
    const word = table.words[i] ?? null;
    let end = i + 1;
    if (word !== null)
      while (end < pieces.length && table.words[end] === word && table.segments[end] === table.segments[i]) end++;
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

/** The pieces of one word with the capitals of the text, where the pieces spell the word. */
function asWritten(pieces: string[], written: string | undefined): string[] {
  if (written === undefined || written === "") return pieces;
  if (pieces.length === 1) return [written];
  if (pieces.join("").toLowerCase() !== written.toLowerCase()) return pieces;
  let at = 0;
  return pieces.map((piece) => {
    at += piece.length;
    return written.slice(at - piece.length, at);
  });
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
