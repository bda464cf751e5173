/** What is being looked at, and how it is written into a page's URL: `#layer=2&head=8&query=8&key=9`. */

export type Theme = "auto" | "light" | "dark";
export type Filter = "all" | "aa" | "ab" | "ba" | "bb";
export const THEMES: readonly Theme[] = ["auto", "light", "dark"];
export const FILTERS: readonly Filter[] = ["all", "aa", "ab", "ba", "bb"];
export const LEVELS = ["neuron"] as const;
export type LevelName = (typeof LEVELS)[number];

export interface State {
  level: LevelName;
  stack: string | null;
  layer: number;
  head: number;
  query: number;
  /** The pinned key; null follows the strongest key of the query. */
  key: number | null;
  theme: Theme;
  filter: Filter;
  /** Why this place was chosen, when the reader did not choose it. */
  why: string | null;
}

export const INITIAL: State = {
  level: "neuron",
  stack: null,
  layer: 0,
  head: 0,
  query: 0,
  key: null,
  theme: "auto",
  filter: "all",
  why: null,
};

const whole = (text: string) => (/^\d{1,9}$/.test(text) ? Number(text) : null);

/** Reads a hash or the traits of a widget; what cannot be read is left out and said in `problems`. */
export function parse(entries: Iterable<[string, unknown]>): { state: Partial<State>; problems: string[] } {
  const state: Partial<State> = {};
  const problems: string[] = [];
  const ill = (name: string, value: unknown, expected: string) =>
    problems.push(`${name}=${String(value).slice(0, 40)} is not ${expected}; it is left as it was.`);
  for (const [name, value] of entries) {
    const text = value === null || value === undefined ? "" : String(value);
    if (name === "layer" || name === "head" || name === "query") {
      const n = whole(text);
      if (n !== null) state[name] = n;
      else if (text !== "") ill(name, value, "a whole number from 0");
    } else if (name === "key") {
      const n = whole(text);
      if (n !== null) state.key = n;
      else if (text === "") state.key = null;
      else ill(name, value, "a whole number from 0");
    } else if (name === "stack") state.stack = text || null;
    else if (name === "why") state.why = text || null;
    else if (name === "theme") {
      const theme = text === "system" ? "auto" : text;
      if (THEMES.includes(theme as Theme)) state.theme = theme as Theme;
      else if (text) ill(name, value, "one of auto, light, dark");
    } else if (name === "filter") {
      if (FILTERS.includes(text as Filter)) state.filter = text as Filter;
      else if (text) ill(name, value, "one of all, aa, ab, ba, bb");
    } else if (name === "level") {
      if ((LEVELS as readonly string[]).includes(text)) state.level = text as LevelName;
      else if (text) ill(name, value, `a level of this view (${LEVELS.join(", ")})`);
    }
  }
  return { state, problems };
}

export function fromHash(hash: string): { state: Partial<State>; problems: string[] } {
  return parse(new URLSearchParams(hash.replace(/^#/, "")));
}

/** Defaults are left out; layer, head and query always stand in it. */
export function toHash(state: State): string {
  const entries: [string, string][] = [];
  if (state.level !== INITIAL.level) entries.push(["level", state.level]);
  if (state.stack) entries.push(["stack", state.stack]);
  entries.push(["layer", String(state.layer)], ["head", String(state.head)], ["query", String(state.query)]);
  if (state.key !== null) entries.push(["key", String(state.key)]);
  if (state.theme !== "auto") entries.push(["theme", state.theme]);
  if (state.filter !== "all") entries.push(["filter", state.filter]);
  return `#${new URLSearchParams(entries)}`;
}
