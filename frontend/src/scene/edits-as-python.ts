/** The lines of "copy as Python" that make the edits of a live view, and ask for their effect. */

import { editCode, type HeadEdit, parseEdit } from "../base/head-edit";
import { call, type EditLines, literal, named } from "./as-python";

/** What a model reads beside a text. */
const OTHER = "text_target target_tokens messages inputs image generate ids truncate".split(" ");
const PAIRS = "attnscope.compare(trace_a, trace_b).alignment.pairs";

export const editLines: EditLines = (state, metas, loads) => {
  const b = state.side === "b";
  const [meta, own] = [metas[Number(b)], loads[Number(b)]];
  if (!state.edits.length || !own?.length) return [];
  const { source } = meta;
  const trace = metas.length < 2 ? "view.trace" : b ? "trace_b" : "trace_a";
  let patch = metas.length < 2 ? "trace" : b ? "trace_a" : "trace_b";
  if (new Set(metas.map(({ tokens }) => tokens?.[0].text.length)).size > 1)
    patch += b ? `, align={b: a for a, b in ${PAIRS}}` : `, align=dict(${PAIRS})`;
  const text = typeof source?.text === "string" && !OTHER.some((name) => name in source);
  const given = [text ? literal(source?.text) : `inputs=${trace}.inputs`];
  if (text && source?.text_pair) given.push(...named([["text_pair", source.text_pair]]));
  for (const name of ["target", "against"] as const)
    if (state[name] !== null) given.push(...named([[name, state[name]]]));
  const asked = call("effect = edit.effect", [...given, "control=20"]).replace(/\n/g, "\n    ");
  return [
    "",
    ...(String(loads[0]) === String(loads[1] ?? loads[0]) ? [] : own),
    "with attnscope.edit(model, tokenizer) as edit:",
    ...state.edits.map((one) => `    ${editCode(parseEdit(one) as HeadEdit, patch)}`),
    `    ${asked}`,
    "print(effect)",
  ];
};
