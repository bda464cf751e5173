/** Where the labels of an axis stand: as many as have room, the selected ones always. */
import type { Slot } from "../../heads/axis";
import { compact } from "../../scene/labels";
import { labelStep, sight } from "./viewbox";

export interface AxisLabel {
  slot: number;
  text: string;
  /** Middle of its cell, in pixels of the plot. */
  at: number;
  special: boolean;
  /** Selected: drawn in full, others near it give way. */
  chosen: boolean;
}

const LEAST = 12; // px from one label to the next
const LONGEST = 14;
const NUMBERED = 4000; // of a longer text a token alone does not say where it stands

export const short = (text: string, longest = LONGEST) =>
  text.length > longest ? `${text.slice(0, longest - 1)}…` : text;

const written = (slots: Slot[], slot: number) =>
  `${slots.length > NUMBERED ? `${slots[slot].tokens[0]} ` : ""}${compact(slots[slot].text)}`;

export function axisLabels(slots: Slot[], start: number, cell: number, room: number, chosen: number): AxisLabel[] {
  const [from, to] = sight(start, cell, slots.length, room);
  const step = labelStep(cell, LEAST);
  const out: AxisLabel[] = [];
  const label = (slot: number): AxisLabel => ({
    slot,
    text: short(written(slots, slot)),
    at: (slot + 0.5 - start) * cell,
    special: slots[slot].special,
    chosen: slot === chosen,
  });
  const seen = (one: AxisLabel) => one.at >= 0 && one.at <= room;
  for (let slot = Math.ceil(from / step) * step; slot < to; slot += step)
    if (slot !== chosen && (chosen < 0 || Math.abs(slot - chosen) * cell >= LEAST - 0.5)) out.push(label(slot));
  if (chosen >= from && chosen < to) out.push(label(chosen));
  return out.filter(seen);
}

/** Pixels that the longest label takes, about. */
export const labelRoom = (slots: Slot[], character: number): number => {
  let most = 3;
  for (let i = 0; i < slots.length && most < LONGEST; i++)
    most = Math.max(most, Math.min(LONGEST, written(slots, i).length));
  return Math.ceil(most * character) + 16;
};
