/** The levels as a ladder: model, head (drawn as lines or as a grid), neuron, steps. Enter goes in, Escape goes out. */
import type { LevelName } from "../base/state";
import { levelNamed, REGISTRY } from "./level-registry";

export type Has = (name: LevelName) => boolean;

/** The levels that draw the same thing as this one, itself among them. */
export function drawingsOf(name: LevelName): LevelName[] {
  const rung = levelNamed(name)?.rung;
  return REGISTRY.filter((level) => level.rung === rung).map((level) => level.name);
}

export const isDrawing = (name: LevelName) => drawingsOf(name).length > 1;

/** The rungs that are there, a level for each; `last`: the drawing that was shown last, of a rung that has several. */
export function rungs(has: Has, last: LevelName): LevelName[] {
  return REGISTRY.flatMap(({ name }) => {
    const there = drawingsOf(name).filter(has);
    return there[0] === name ? [there.includes(last) ? last : name] : [];
  });
}

/** One rung in (+1) or out (-1) from a level; null at the end. */
export function rung(from: LevelName, by: 1 | -1, has: Has, last: LevelName): LevelName | null {
  const ladder = rungs(has, isDrawing(from) ? from : last);
  return ladder[ladder.indexOf(from) + by] ?? null;
}
