/** What a head does over the whole text, in one sentence, from all of its weights. */

import { fixed, percentInWords } from "../base/format";
import { leading } from "../scene/aside";
import { named } from "../scene/labels";
import type { Scene } from "../scene/scene";
import type { Part } from "../scene/text";
import type { Axes } from "./axes";
import type { SlotRow } from "./axis";
import { placeName } from "./members";
import type { RowCache } from "./row-cache";

/** Weights that one may wait for: more are added up while the picture is already there. */
const AT_ONCE = 3_000_000;

/** Completes a small cache at once; false where the reader would wait for it. */
export function completed(cache: RowCache): boolean {
  if (cache.complete) return true;
  const { queries, keys, head_size } = cache.site;
  if (queries * keys * Math.max(head_size, 8) * cache.members.length > AT_ONCE) return false;
  while (cache.advance());
  return true;
}

const away = (distance: number, one: string, several: string) =>
  `${distance.toFixed(1)} ${distance.toFixed(1) === "1.0" ? one : several}`;

/** `row`: the selected query's, or of several. Without a complete cache of rows, the sentence is about the query alone. */
export function headSentence(scene: Scene, cache: RowCache, axes: Axes, row: SlotRow): Part[] {
  const { state, site } = scene;
  const where = placeName({ site, head: state.head }, state.average);
  const parts: Part[] = [`In ${where}, `];
  const { tally } = cache;
  const mass = tally.back + tally.itself + tally.ahead;
  const rows = site.queries - tally.empty - tally.broken;
  if (cache.complete && tally.broken) parts.push("some weights are not numbers. ");
  else if (cache.complete && mass > 0 && rows > 0) {
    if (site.kind === "self") parts.push(...distances(scene, cache, mass), "; ");
    const most = tally.received.reduce((best, value, j) => (value > tally.received[best] ? j : best), 0);
    const label = scene.keyLabels[most];
    parts.push(
      { token: named(label), key: most, special: label.special, at: twice(scene, most) ? most : undefined },
      ` receives most, ${percentInWords(tally.received[most] / mass)} of all weight`,
    );
    if (tally.sink / rows >= 0.05) parts.push(`, and ${percentInWords(tally.sink / rows)} goes to the sink`);
    parts.push(". ");
  } else parts.push("one query at a time: ");
  return [...parts, ...ofQuery(scene, axes, row, cache.complete)];
}

type Where = "previous" | "itself" | "next";

/** A statistic of these heads as the payload has it, their mean; null where it has none. */
function statistic(
  scene: Scene,
  { members }: RowCache,
  name: Where | "distance" | "patch_distance" | "time_distance",
): number | null {
  const known = members.map(({ site, head }) => scene.meta.sites[site.index]?.stats?.[name]?.[head]);
  const numbers = known.filter((value) => typeof value === "number");
  if (!numbers.length || numbers.length < known.length) return null;
  return numbers.reduce((a, b) => a + b) / numbers.length;
}

const NEAR: [Where, string][] = [
  ["previous", "to the token just before"],
  ["itself", "to itself"],
  ["next", "to the token just after"],
];

function distances(scene: Scene, rows: RowCache, mass: number): Part[] {
  const { tally } = rows;
  for (const [name, where] of NEAR) {
    const part = statistic(scene, rows, name) ?? 0;
    if (part >= 0.5) return [`a token gives ${percentInWords(part)} of its weight ${where}, on average`];
  }
  const distance = statistic(scene, rows, "distance");
  const lines = statistic(scene, rows, "patch_distance");
  const time = statistic(scene, rows, "time_distance");
  if (time !== null) return [`a moment of the sound looks ${fixed(time, 2)} s away on average`];
  // in an image alone, before and behind in the row of tokens say nothing
  if (lines !== null && distance === null) return [`a patch looks ${away(lines, "patch", "patches")} away on average`];
  const share = (part: number) => percentInWords(part / mass);
  const far = distance === null ? [] : [`a token looks ${away(distance, "token", "tokens")} away on average`];
  const itself = statistic(scene, rows, "itself");
  if (tally.ahead === 0)
    return [[...far, "never ahead", ...(itself === null ? [] : [`${percentInWords(itself)} at itself`])].join(", ")];
  const sides = [`${share(tally.back)} back`, `${share(tally.ahead)} ahead`];
  return [[...far, (tally.back >= tally.ahead ? sides : sides.reverse()).join(" and ")].join(", ")];
}

const twice = ({ keyLabels, site }: Scene, key: number) =>
  keyLabels.some((label, j) => j !== key && j < site.keys && label.text === keyLabels[key].text);

/** `begins`: a sentence begins here. */
function ofQuery(scene: Scene, axes: Axes, row: SlotRow, begins: boolean): Part[] {
  const chosen = selected(scene, axes);
  const label = scene.queryLabels[scene.query];
  const who: Part[] =
    chosen.length > 1
      ? [`The ${chosen.length} selected queries together`]
      : [{ token: axes.queries.slots[axes.query]?.text ?? named(label), key: null, special: label.special }];
  const verb = chosen.length > 1 ? "look" : "looks";
  if (row.empty) return [...who, " may see no key at all."];
  if (!row.weights.some((weight) => weight !== 0)) return [...who, ` ${verb} at nothing that is shown.`];
  const aside = Uint8Array.from(axes.keys.slots, ({ tokens }) => Number(tokens.every((j) => scene.aside.keys[j])));
  const best = row.weights.reduce((most, weight, s) => (weight > row.weights[most] ? s : most), 0);
  const slot = axes.keys.slots[best];
  const self = chosen.length < 2 && scene.site.kind === "self" && slot.tokens.includes(scene.query);
  // the largest of all weights may be among those that are not drawn
  const whole = axes.keys.hidden.length + axes.keys.outside.length === 0;
  const among = whole ? [] : [begins ? "Of what is shown, " : "of what is shown, "];
  if (!whole && chosen.length > 1) who[0] = `the ${chosen.length} selected queries together`;
  const parts: Part[] = [...among, ...who, ` ${verb} most at `];
  if (self) parts.push("itself");
  else parts.push({ token: slot.text, key: slot.tokens[0], special: slot.special });
  parts.push(` (${percentInWords(row.weights[best])})`);
  const other = leading(row.weights, aside);
  if (!aside[best] || aside[other]) return [...parts, "."];
  const { text, tokens, special } = axes.keys.slots[other];
  const token: Part = { token: text, key: tokens[0], special };
  const itself = chosen.length < 2 && scene.site.kind === "self" && tokens.includes(scene.query);
  const kind = slot.special ? "special" : "sink";
  const then = percentInWords(row.weights[other]);
  return [...parts, `, a ${kind} token, and among the others at `, itself ? "itself" : token, ` (${then}).`];
}

/** Slots of the query and of those selected beside it, each once, the query's first. */
export function selected(scene: Scene, axes: Axes): number[] {
  const slots = [scene.query, ...scene.state.queries].map((query) => axes.queries.of[query] ?? -1);
  return [...new Set(slots.filter((slot) => slot >= 0))];
}
