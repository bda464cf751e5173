/** Colours of heads laid over each other: none twice, at least 3 : 1 on their ground, told apart by dash and label as well. */

import { dashes, heads } from "../generated/colours.json";

/** As many as can still be told apart. */
export const MOST = heads.light.length;

export interface Pen {
  colour: string;
  dash: readonly number[];
  /** What it draws, where that is not a head of its own. */
  name?: string;
}

export function pens(dark: boolean): Pen[] {
  return (dark ? heads.dark : heads.light).map((colour, i) => ({ colour, dash: dashes[i % dashes.length] }));
}

/** Of a difference: what grew, and what shrank. */
export const signPens = ({ positive, negative }: { positive: string; negative: string }): Pen[] => [
  { colour: positive, dash: [], name: "grew" },
  { colour: negative, dash: [9, 3], name: "shrank" },
];

export const nameOf = (pens: Pen[], head: number, i: number) => pens[i]?.name ?? `head ${head}`;
