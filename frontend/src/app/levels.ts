/** The levels there are: each is made when it is first shown. A new level adds its line here and its style in shadow.ts. */
import { HeadLevel } from "../levels/head";
import { NeuronLevel } from "../levels/neuron";
import type { MakeLevel } from "../scene";
import type { LevelName } from "../state";

export const REGISTRY: Partial<Record<LevelName, MakeLevel>> = {
  head: (actions, viewport, source) => new HeadLevel(actions, viewport, source),
  neuron: (actions, viewport) => new NeuronLevel(actions, viewport),
};
