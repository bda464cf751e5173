/** A token in a line of plain text: its weight, and what the model gave it. */

import { change, percent } from "../../base/format";
import { isMasked } from "../../chain/chain";
import type { TokenTable } from "../../data/metadata";
import { inLine } from "../../scene/labels";
import type { Scene } from "../../scene/scene";

/** What the model gave a token that it generated; "" for what it read. */
export function chanceOf(table: TokenTable, index: number): string {
  const own = table.probability?.[index] ?? null;
  if (own === null) return "";
  const rank = table.rank?.[index];
  const [other, second] = table.runner_up?.[index] ?? ["", 0];
  const beside = other
    ? `; ${second > own ? "it gave more to" : "the second was"} “${other}”, with ${percent(second)}`
    : "";
  return `The model gave “${table.shown?.[index] ?? table.text[index]}” a probability of ${percent(own)}${rank ? ` (rank ${rank})` : ""}${beside}.`;
}

/** A token and its weight, as a line: "token 8 · “it” · weight 12 %". */
export function said(scene: Scene, role: "both" | "query" | "key", index: number): string {
  const { chain, pair } = scene;
  const label = (role === "key" ? scene.keyLabels : scene.queryLabels)[index];
  const what = `token ${index} · ${inLine(label)}`;
  if (role === "query" || index >= chain.weights.length) return what;
  if (isMasked(chain, index)) return `${what} · masked`;
  const weight = chain.weights[index];
  return `${what} · ${pair ? `weight, B − A ${change(weight)}` : `weight ${percent(weight)}`}`;
}
