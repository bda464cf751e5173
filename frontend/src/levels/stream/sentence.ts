/** What became of the stream at one position, in one sentence. */

import { fixed, list, percentInWords } from "../../base/format";
import { type Column, type Line, partsOf } from "../../heads/stream-column";
import type { Part } from "../../scene/text";

const MENTIONED = 0.1; // of the largest part

const token = (text: string): Part => ({ token: text, key: null, special: false });

/** A number of logits with its sign: "+2.5", "−0.9". */
export const signed = (value: number, digits = 1) => `${value > 0 ? "+" : ""}${fixed(value, digits)}`;

export function sentenceOf(column: Column): Part[] {
  return column.attributed ? attributed(column) : changed(column);
}

/** "Mary over John by 4.0: most of it from L23H3 (+2.5), then from L29H1 (+1.2); most against it L29H0 (−0.9). Mary has 62 %." */
function attributed(column: Column): Part[] {
  const { target, against, difference } = column;
  if (!target) return ["Nothing is predicted here."];
  const by = fixed(Math.abs(difference), 1);
  const forIt = difference < 0 ? -1 : 1;
  const lead: Part[] = against
    ? [token(target.text), difference < 0 ? " under " : " over ", token(against.text), ` by ${by}`]
    : [token(target.text), ` has a logit of ${fixed(difference, 1)}`];
  const order = partsOf(column.lines)
    .filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => forIt * ((b.value as number) - (a.value as number)));
  const [most] = order;
  const least = order.at(-1);
  const own = most ? forIt * (most.value as number) : 0;
  if (own <= 0) return [...lead, ".", ...chance(column)];
  const next = order.slice(1, 3).filter(({ value }) => forIt * (value as number) > MENTIONED * own);
  const parts: Part[] = [
    ...lead,
    `: ${share(own, Math.abs(difference))} from ${said(most)}`,
    next.length ? `, then from ${list(next.map(said))}` : "",
  ];
  if (least && -forIt * (least.value as number) > MENTIONED * own) parts.push(`; most against it ${said(least)}`);
  return [...parts, ".", ...chance(column)];
}

/** A part may be larger than the whole: others are against it. */
const share = (part: number, whole: number) =>
  part > whole ? "the strongest push" : part >= whole / 2 ? "most of it" : "the largest part";

const said = ({ name, value }: Line) => `${name === "embedding" ? "the embedding" : name} (${signed(value as number)})`;

function chance({ target }: Column): Part[] {
  return target ? [" ", token(target.text), ` has ${percentInWords(target.probability)}.`] : [];
}

/** "From L29 on the lens reads Mary (92 %); before that, from L23 on, the." */
export function sentenceOfLens({ lens, lensText }: Column): Part[] {
  const last = lensText.length - 1;
  const since = (stage: number) => {
    let first = stage;
    while (first > 0 && lensText[first - 1] === lensText[stage]) first--;
    return first;
  };
  const from = since(last);
  const said: Part[] = [
    `From ${stageName(from)} on the lens reads `,
    token(lensText[last]),
    `, at the end with ${percentInWords(lens[last])}`,
  ];
  if (from === 0) return [...said, "."];
  const before = since(from - 1);
  return [...said, `; before that, from ${stageName(before)} on, `, token(lensText[from - 1]), "."];
}

/** What a stage is called: 0 is the embedding, l + 1 layer l. */
export const stageName = (stage: number) => (stage === 0 ? "the embedding" : `L${stage - 1}`);

/** Where nothing is attributed: which block turned the stream most, and how its length changed. */
function changed(column: Column): Part[] {
  if (!column.receipt.passed)
    return ["The numbers of this stream do not match the model, so nothing is attributed here."];
  const blocks = column.lines.filter(({ turn }) => turn !== null && Number.isFinite(turn));
  if (!blocks.length) return ["Nothing is known of this stream."];
  const most = blocks.reduce((best, one) => ((one.turn as number) > (best.turn as number) ? one : best));
  const { sizes } = column;
  return [
    `${most.name} turns the stream most, by ${fixed(most.turn as number, 0)}°; from the embedding to the end its length goes from ${fixed(sizes[0], 1)} to ${fixed(sizes[sizes.length - 1], 1)}.`,
    ...chance(column),
  ];
}
