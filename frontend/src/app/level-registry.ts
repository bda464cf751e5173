/** The levels there are: each is made when it is first shown. A new level adds its line here and its style in shadow.ts. */

import type { LevelName } from "../base/state";
import { PairSource } from "../chain/pair-source";
import type { Source } from "../data/source";
import { HeadLevel } from "../levels/head/level";
import { MatrixLevel } from "../levels/matrix/level";
import { ModelLevel } from "../levels/model/level";
import { NeuronLevel } from "../levels/neuron/level";
import { PairNeuron } from "../levels/neuron/pair-level";
import { StepsLevel } from "../levels/steps/level";
import { PairSteps } from "../levels/steps/pair-level";
import type { MakeLevel } from "../scene/scene";

export const REGISTRY: Partial<Record<LevelName, MakeLevel>> = {
  model: (actions, viewport, source) => new ModelLevel(actions, viewport, source),
  head: (actions, viewport, source) => new HeadLevel(actions, viewport, source),
  matrix: (actions, viewport, source) => new MatrixLevel(actions, viewport, source),
  neuron: (actions, viewport) => new NeuronLevel(actions, viewport),
  steps: (actions, viewport, source) => new StepsLevel(actions, viewport, source),
};

/** The levels of two traces beside each other: those of weights alone are the same. */
const OF_PAIR: Partial<Record<LevelName, MakeLevel>> = {
  ...REGISTRY,
  neuron: (actions) => new PairNeuron(actions),
  steps: (actions) => new PairSteps(actions),
};

export const levelsOf = (source: Source) => (source instanceof PairSource ? OF_PAIR : REGISTRY);
