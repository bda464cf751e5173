/** The levels as a ladder: model, head (drawn as lines or as a grid), neuron, steps. Enter goes in, Escape goes out. */
import { LEVELS, type LevelName } from "../base/state";

export type Drawing = "head" | "matrix";
export type Has = (name: LevelName) => boolean;

export const drawingOf = (name: LevelName): Drawing | null => (name === "head" || name === "matrix" ? name : null);

/** The rungs that are there; `last`: how a head was drawn last. */
export function rungs(has: Has, last: Drawing): LevelName[] {
  const other: Drawing = last === "head" ? "matrix" : "head";
  const drawing = has(last) ? last : other;
  return LEVELS.filter((name) => has(name) && (drawingOf(name) === null || name === drawing));
}

/** One rung in (+1) or out (-1) from a level; null at the end. */
export function rung(from: LevelName, by: 1 | -1, has: Has, last: Drawing): LevelName | null {
  const ladder = rungs(has, drawingOf(from) ?? last);
  return ladder[ladder.indexOf(from) + by] ?? null;
}
