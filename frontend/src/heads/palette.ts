/** Colours of heads laid over each other: none twice, at least 3 : 1 on their ground, told apart by dash and label as well. */

/** As many as can still be told apart. */
export const MOST = 12;

const LIGHT = [
  "#00688b",
  "#b5342b",
  "#4f7a00",
  "#7a3fb0",
  "#946000",
  "#c0267a",
  "#20795a",
  "#4d4fc4",
  "#8a4b32",
  "#5e6470",
  "#a03fa0",
  "#2f6fd0",
];
const DARK = [
  "#4fc3e8",
  "#ff8f80",
  "#a6d245",
  "#c9a0ff",
  "#f0bd4a",
  "#ff8ac2",
  "#57d3a4",
  "#a3a8ff",
  "#dba384",
  "#b9c0cc",
  "#f09bf0",
  "#86b6ff",
];
/** Lengths of stroke and gap, in widths of 1 px; the first is solid. */
export const DASHES: readonly (readonly number[])[] = [[], [9, 3], [2, 3], [9, 3, 2, 3], [5, 3], [14, 3]];

export interface Pen {
  colour: string;
  dash: readonly number[];
  /** What it draws, where that is not a head of its own. */
  name?: string;
}

export function pens(dark: boolean): Pen[] {
  return (dark ? DARK : LIGHT).map((colour, i) => ({ colour, dash: DASHES[i % DASHES.length] }));
}

/** Of a difference: what grew, and what shrank. */
export const signPens = ({ positive, negative }: { positive: string; negative: string }): Pen[] => [
  { colour: positive, dash: [], name: "grew" },
  { colour: negative, dash: [9, 3], name: "shrank" },
];

export const nameOf = (pens: Pen[], head: number, i: number) => pens[i]?.name ?? `head ${head}`;
