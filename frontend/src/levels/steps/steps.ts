/** The chain of one query and key, written out: what each step is called, its formula, its numbers, what it was made of. */

import type { StepTensors } from "../../data/step-tensors";
import type { StreamTable } from "../../data/stream";
import type { Scene } from "../../scene/scene";
import { toOutput } from "./output";
import { toKey, toQuery } from "./projections";
import { toScore } from "./scores";
import { keyName, type Step, shown, type Unnamed } from "./step";
import { toPrediction } from "./to-prediction";

/** `stream`: of the trace, where it holds one. `pick`: steps the running sum to a dimension. */
export function stepsOf(
  scene: Scene,
  given: StepTensors | null,
  stream: StreamTable | null,
  pick: (dim: number) => void,
): Step[] {
  const names = scene.meta.step_names ?? {};
  const steps = scene.site.weights_only
    ? onlyWeights(scene)
    : [...toQuery(scene, given), ...toKey(scene, given), ...toScore(scene, pick), ...toOutput(scene, given)];
  return [...steps, ...toPrediction(scene, stream)].map((step) => {
    const [number, , title] = names[step.id] ?? ["", "", step.id];
    return { ...step, number, name: step.name ?? title };
  });
}

function onlyWeights(scene: Scene): Unnamed[] {
  const { chain, key } = scene;
  return [
    {
      id: "only",
      name: "weights only",
      why: "Only weights were captured here, with no query and key vectors behind them: there is no arithmetic to write out. To see it, trace the model itself: attnscope.trace(model, tokenizer, text).",
      scalars: [
        {
          id: "weight",
          symbol: `weight of ${keyName(scene)}`,
          value: chain.weights[key],
          text: shown(scene, chain.weights[key]),
        },
      ],
    },
  ];
}
