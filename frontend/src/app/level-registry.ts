/** The levels there are, from text and prediction to one number. Each is made when it is first shown. */

import type { LevelName } from "../base/state";
import { PairSource } from "../chain/pair-source";
import type { Source } from "../data/source";
import { headLevel } from "../levels/head/level";
import { matrixLevel } from "../levels/matrix/level";
import { modelLevel } from "../levels/model/level";
import { neuronLevel } from "../levels/neuron/level";
import { stepsLevel } from "../levels/steps/level";
import { streamLevel } from "../levels/stream/level";
import type { LevelEntry, MakeLevel } from "../scene/level";

export const REGISTRY: readonly LevelEntry[] = [
  streamLevel,
  modelLevel,
  headLevel,
  matrixLevel,
  neuronLevel,
  stepsLevel,
].sort((a, b) => a.order - b.order);

export const levelNamed = (name: LevelName): LevelEntry | undefined => REGISTRY.find((level) => level.name === name);

/** How a level of this source is made; undefined where there is no such level. */
export function makerOf(name: LevelName, source: Source): MakeLevel | undefined {
  const level = levelNamed(name);
  if (level?.missing?.(source)) return undefined;
  return (source instanceof PairSource && level?.makePair) || level?.make;
}

/** "head: its weights as a grid". */
export const aboutLevel = ({ group, about }: LevelEntry) => `${group}: ${about}`;

/** Why levels are not there, and how to get them, a sentence each. Of a comparison nothing: a trace of its own has them. */
export const missingIn = (source: Source): string[] =>
  source instanceof PairSource ? [] : REGISTRY.flatMap(({ missing }) => missing?.(source) ?? []);
