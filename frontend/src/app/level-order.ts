/** The order of the levels: stream, model, head (drawn as lines or as a grid), neuron, steps. Enter goes in, Escape goes out. */
import type { LevelName } from "../base/state";
import { levelNamed, REGISTRY } from "./level-registry";

export type Has = (name: LevelName) => boolean;

/** The levels that draw the same thing as this one, itself among them. */
export function drawingsOf(name: LevelName): LevelName[] {
  const group = levelNamed(name)?.group;
  return REGISTRY.filter((level) => level.group === group).map((level) => level.name);
}

export const isDrawing = (name: LevelName) => drawingsOf(name).length > 1;

/** The levels that there are, one of each group; `last`: the drawing that was shown last, where a group has several. */
export function levelsInOrder(has: Has, last: LevelName): LevelName[] {
  return REGISTRY.flatMap(({ name }) => {
    const there = drawingsOf(name).filter(has);
    return there[0] === name ? [there.includes(last) ? last : name] : [];
  });
}

/** The next level in (+1) or out (-1); null at the end. */
export function nextLevel(from: LevelName, by: 1 | -1, has: Has, last: LevelName): LevelName | null {
  const order = levelsInOrder(has, isDrawing(from) ? from : last);
  return order[order.indexOf(from) + by] ?? null;
}

/** The key that goes to a level: its place from far to near. The stream has 0: the others keep theirs where it is not there. */
export const keyOf = (name: LevelName) => String(levelNamed(name)?.order ?? "");

/** The level of a key; undefined where the key is none of a level. */
export const levelOfKey = (key: string): LevelName | undefined =>
  REGISTRY.find(({ name }) => keyOf(name) === key)?.name;
