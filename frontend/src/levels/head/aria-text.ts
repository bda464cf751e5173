/** A token that is pointed at, in words: where it looks, or who looks at it. */

import { change, percent } from "../../base/format";
import type { Axes } from "../../heads/axes";
import type { Slot } from "../../heads/axis";
import { nameOf, type Pen } from "../../heads/palette";
import { isolated } from "../../scene/labels";
import type { Highlight, Place } from "./highlight";

const one = ({ text, tokens }: Slot) => `“${isolated(text)}” at ${tokens[0]}`;

function strongest(values: readonly (number | null)[], slots: Slot[]): string {
  const found = values
    .map((value, at) => ({ value: value ?? -1, at }))
    .filter(({ value }) => value >= 0.0005)
    .sort((a, b) => b.value - a.value)
    .slice(0, 3);
  return found.map(({ value, at }) => `${isolated(slots[at].text)} ${percent(value)}`).join(", ") || "nothing";
}

/** `chosen`: slots of the selected queries. */
export function spoken(
  { side, slot }: Place,
  focus: Highlight,
  axes: Axes,
  heads: number[],
  chosen: number[],
  pens: Pen[],
): string {
  const { queries, keys } = axes;
  const other = side === "query" ? "key" : "query";
  const slots = side === "query" ? keys.slots : queries.slots;
  const perHead = heads.map((head, i) => {
    const said = strongest(focus.beside[other]?.values[i] ?? [], slots);
    return heads.length > 1 ? `${nameOf(pens, head, i)}: ${said}` : said;
  });
  if (side === "query") return `query ${one(queries.slots[slot])} looks at ${perHead.join("; ")}`;
  const beside = focus.beside.key;
  const given = beside?.values[0][slot] ?? null;
  const seen = `seen most by ${perHead.join("; ")}`;
  if (given === null) return seen;
  const who = chosen.length > 1 ? "the selected queries" : `query ${one(queries.slots[chosen[0]])}`;
  const weight =
    beside?.masked?.[slot] && !given
      ? "masked"
      : beside?.signed
        ? `weight, B − A ${change(given - (beside.values[1]?.[slot] ?? 0))}`
        : `weight ${percent(given)}`;
  return `${who} → key ${one(keys.slots[slot])}: ${weight} · ${seen}`;
}
