// @vitest-environment happy-dom
/** Subscripts are for symbols; the names of parameters stay as they are. */
import { expect, it } from "vitest";
import { subscripted } from "../../src/levels/steps/formula";

const marked = (text: string) =>
  subscripted(text)
    .map((part) => (typeof part === "string" ? part : `<${part.textContent}>`))
    .join("");

it.each([
  ["W_q: rows 0–31 of layers.0.self_attn.q_proj.weight", "W<q>: rows 0–31 of layers.0.self_attn.q_proj.weight"],
  ["b_O and W_O", "b<O> and W<O>"],
  ["model.W_q.weight, x.w_k_proj, c_attn", "model.W_q.weight, x.w_k_proj, c_attn"],
  ["(W_v)", "(W<v>)"],
])("%s", (text, expected) => expect(marked(text)).toBe(expected));
