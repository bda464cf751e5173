/** "Copy as Python": the lines that rebuild what is on screen, the state spelled as keyword arguments of `show`. */

import { INITIAL, type State } from "../base/state";
import type { Metadata } from "../data/metadata";
import { ALWAYS } from "../generated/state";

/** What JSON leaves as it is and a terminal acts on: control characters and those that turn the direction of a line. */
const ACTING = /[\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g;
const escaped = (c: string) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** A value as Python writes it. A JSON string is a Python string as well. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return JSON.stringify(value).replace(ACTING, escaped);
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, one]) => `${literal(name)}: ${literal(one)}`)
      .join(", ")}}`;
  return String(value);
}

/** On one line where it fits, else an argument a line. */
export function call(what: string, parts: string[]): string {
  const line = `${what}(${parts.join(", ")})`;
  return line.length <= 92 ? line : `${what}(\n${parts.map((part) => `    ${part},\n`).join("")})`;
}

export const named = (given: [string, unknown][]) => given.map(([name, one]) => `${name}=${literal(one)}`);
const oneLine = (text: string) => text.replace(/\s+/g, " ").slice(0, 120);

/** Arguments of attnscope.load; all others are arguments of attnscope.trace. */
const LOAD: ReadonlySet<string> = new Set(["model", "task", "device", "dtype", "revision", "trust_remote_code"]);
/** Traces made from tensors, without a text. */
const FROM_TENSORS: ReadonlySet<string> = new Set(["from_qkv", "from_attentions"]);

/** The place of a site as arguments. */
export const placeArguments = (state: Pick<State, "layer" | "head">, stack: string | null): string[] =>
  named([
    ["layer", state.layer],
    ["head", state.head],
    ...(stack === null ? [] : [["stack", stack] as [string, unknown]]),
  ]);

/** What must be there before the view can be made, and the view's function with its first arguments. */
export function opening({ source, model }: Metadata): { lines: string[]; what: string; given: string[] } {
  const name = oneLine(model.name || model.class);
  if (!source && FROM_TENSORS.has(model.name))
    return { lines: [`# trace: as you made it with Trace.${name}`], what: "trace.show", given: [] };
  const lines: string[] = [];
  const all = Object.entries(source ?? {});
  const load = all.filter(([key]) => LOAD.has(key) && key !== "model");
  if (typeof source?.model === "string")
    lines.push(`model, tokenizer = ${call("attnscope.load", [literal(source.model), ...named(load)])}`);
  else lines.push(`# model, tokenizer: ${name}, as you loaded them`);
  const given = ["model", "tokenizer"];
  if (source?.inputs) {
    lines.push("# inputs: the tensors that the model was given");
    given.push("inputs=inputs");
  } else if (typeof source?.text === "string") given.push(literal(source.text));
  else if (!source?.messages && !source?.image) {
    lines.push("# text: what the model was given to read");
    given.push("text");
  }
  const rest = all.filter(([key]) => !LOAD.has(key) && key !== "text" && key !== "inputs");
  return { lines, what: "attnscope.show", given: [...given, ...named(rest)] };
}

const same = (a: unknown, b: unknown) => String(a) === String(b);

/** Lines that make the edits of a view of one trace, or of two. `loads`: those that load the model of each. */
export type EditLines = (state: State, metas: Metadata[], loads: string[][]) => string[];

const isLoad = (line: string) => /^(# )?model, tokenizer/.test(line);

/** `editLines`: of a live view; others show the edits alone. */
export function python(meta: Metadata, state: State, editLines?: EditLines): string {
  const shown: [string, unknown][] = [];
  const initial = { ...INITIAL, ...meta.look };
  for (const name of Object.keys(INITIAL) as (keyof State)[]) {
    if (name === "why" || (name === "key" && state.key === null)) continue;
    const always = ALWAYS.some((one) => one === name);
    if (always || !same(state[name], initial[name])) shown.push([name, state[name]]);
  }
  const { lines, what, given } = opening(meta);
  const badges = meta.sites?.flatMap(({ roles }) => roles?.flat() ?? []) ?? [];
  if (badges.some(({ kind }) => !kind)) {
    lines.push("# table: the roles of its heads, as you made it with attnscope.roles");
    given.push("roles=table");
  }
  if (badges.some(({ kind }) => kind === "effect")) {
    lines.push("# effects: of its heads, as you measured them with attnscope.effects");
    given.push("effects=effects");
  }
  let view = `view = ${call(what, [...given, ...named(shown)])}`;
  // show pins a key; at(key=None) lets it go, and the strongest one is followed
  if (state.key === null) {
    view += "\nview = view.at(key=None)";
  }
  const edits = editLines?.(state, [meta], [lines.filter(isLoad)]) ?? [];
  return `${["import attnscope", "", ...lines, view, "view", ...edits].join("\n")}\n`;
}

/** What a comparison opens with where the caller chose nothing. */
const COMPARED: Partial<State> = { level: "model", side: "difference", sort: "change" };
const PLACE = ["layer", "head", "query", "key", "stack"] as const;
/** What may not be there at the place that show chooses. */
const OF_THE_PLACE = ["heads", "queries", "dim"];

export function pythonOfPair(metas: [Metadata, Metadata], state: State, editLines?: EditLines): string {
  const lines: string[] = [];
  const loads: string[][] = [];
  metas.forEach((meta, i) => {
    const name = `trace_${"ab"[i]}`;
    const { lines: before, what, given } = opening(meta);
    loads.push(before.filter(isLoad));
    for (const line of before.map((one) => one.replace("# trace:", `# ${name}:`)))
      if (!lines.includes(line)) lines.push(line);
    if (what === "attnscope.show") lines.push(`${name} = ${call("attnscope.trace", given)}`);
  });
  const look = (Object.keys(INITIAL) as (keyof State)[])
    .filter((name) => name !== "why" && !PLACE.some((one) => one === name))
    .filter((name) => !same(state[name], COMPARED[name] ?? INITIAL[name]))
    .map((name): [string, unknown] => [name, state[name]]);
  const ofThePlace = ([name]: [string, unknown]) => OF_THE_PLACE.includes(name);
  const shown = look.filter((one) => !ofThePlace(one));
  const place = PLACE.filter((name) => name !== "stack" || state.stack)
    .map((name): [string, unknown] => [name, state[name]])
    .concat(look.filter(ofThePlace));
  const view = `view = ${call("attnscope.compare(trace_a, trace_b).show", named(shown))}`;
  const moved = `view = ${call("view.at", named(place))}`;
  const edits = editLines?.(state, metas, loads) ?? [];
  return `${["import attnscope", "", ...lines, view, moved, "view", ...edits].join("\n")}\n`;
}
