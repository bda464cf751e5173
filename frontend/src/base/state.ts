/** What is being looked at, and how it is written into a page's URL: `#layer=2&head=8&query=8&key=9`. */

import { ALIASES, ALWAYS, CHOICES, EXPECTED, INITIAL, KINDS, type Kind, LEVELS, type State } from "../generated/state";
import { editText, MOST_EDITS, parseEdit } from "./head-edit";

export { CHOICES, INITIAL, LEVELS, type State };
export type LevelName = State["level"];
export type Theme = State["theme"];
export type Filter = State["filter"];
export type Side = State["side"];

const whole = (text: string) => (/^\d{1,9}$/.test(text) ? Number(text) : undefined);

/** A value as an address spells it; undefined where it cannot be read. */
const READERS: Record<Exclude<Kind, "choice">, (text: string) => unknown> = {
  position: whole,
  "optional position": (text) => (text === "" ? null : whole(text)),
  positions: (text) => {
    const numbers = text === "" ? [] : text.split(",").map((part) => whole(part.trim()));
    return numbers.length <= 1000 && numbers.every((n) => n !== undefined) ? [...new Set(numbers)] : undefined;
  },
  edits: (text) => {
    const edits = text === "" ? [] : text.split(",").map(parseEdit);
    const read = edits.every((one) => one !== null) && edits.length <= MOST_EDITS;
    return read ? [...new Set(edits.map(editText))] : undefined;
  },
  weight: (text) => (/^(0(\.\d{1,9})?|1(\.0{1,9})?|\d(\.\d{1,9})?e-\d{1,2})$/.test(text) ? Number(text) : undefined),
  flag: (text) => ({ 1: true, true: true, 0: false, false: false })[text],
  name: (text) => (/^[a-z_]{1,40}$/.test(text) ? text : undefined),
  text: (text) => text || null,
};
/** Kinds for which an empty text means something; elsewhere it means "as it was". */
const MAY_BE_EMPTY: ReadonlySet<Kind> = new Set(["text", "optional position", "positions", "edits"]);

function read(name: keyof State, text: string): { found: unknown; expected: string } {
  const kind = KINDS[name];
  if (kind !== "choice") return { found: READERS[kind](text), expected: EXPECTED[kind] };
  const choices: readonly string[] = CHOICES[name as keyof typeof CHOICES];
  const other = name === "theme" && text === "system" ? "auto" : name === "level" ? (ALIASES[text] ?? text) : text;
  return { found: choices.find((choice) => choice === other), expected: `one of ${choices.join(", ")}` };
}

/** Reads a hash or the traits of a widget; `problems` names what cannot be read, which is left out. */
export function parse(entries: Iterable<[string, unknown]>): { state: Partial<State>; problems: string[] } {
  const state: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [name, value] of entries) {
    if (!Object.hasOwn(KINDS, name)) continue;
    const text = value === null || value === undefined ? "" : String(value);
    if (text === "" && !MAY_BE_EMPTY.has(KINDS[name as keyof State])) continue;
    const { found, expected } = read(name as keyof State, text);
    if (found !== undefined) state[name] = found;
    else problems.push(`${name}=${text.slice(0, 40)} is not ${expected}; it keeps its value.`);
  }
  return { state: state as Partial<State>, problems };
}

export function fromHash(hash: string): { state: Partial<State>; problems: string[] } {
  return parse(new URLSearchParams(hash.replace(/^#/, "")));
}

/** Defaults are left out; layer, head and query always stand in it. */
export function toHash(state: State): string {
  const entries: [string, string][] = [];
  for (const name of Object.keys(INITIAL) as (keyof State)[]) {
    if (name === "why") continue;
    const text = spelled(state[name]);
    if (ALWAYS.some((one) => one === name) || text !== spelled(INITIAL[name])) entries.push([name, text]);
  }
  return `#${new URLSearchParams(entries)}`;
}

function spelled(value: State[keyof State]): string {
  if (typeof value === "boolean") return value ? "1" : "0";
  return value === null ? "" : String(value);
}
