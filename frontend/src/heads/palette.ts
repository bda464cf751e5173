/** Colours of heads laid over each other: none twice, at least 3 : 1 on their ground, told apart by dash and label as well. */

import { contrast } from "../base/scale";
import { dashes, heads } from "../generated/colours.json";
import type { Scene } from "../scene/scene";

/** As many as a reader can still distinguish. */
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
const signPens = ({ positive, negative }: { positive: string; negative: string }): Pen[] => [
  { colour: positive, dash: [], name: "grew" },
  { colour: negative, dash: [9, 3], name: "shrank" },
];

/** Of so many heads drawn over each other. */
export function pensOf({ ramp, pair }: Pick<Scene, "ramp" | "pair">, heads: number): Pen[] {
  if (pair) return signPens(ramp.palette);
  const { ground, ink } = ramp.palette;
  const dark = contrast(ground, "#000000") < contrast(ground, "#ffffff");
  return heads > 1 ? pens(dark) : [{ colour: ink, dash: [] }];
}

export const nameOf = (pens: Pen[], head: number, i: number) => pens[i]?.name ?? `head ${head}`;
