/** From the weights to what the head writes: z, and its part of the residual stream. */

import { count, percent } from "../../base/format";
import { isMasked } from "../../chain/chain";
import type { StepTensors } from "../../data/step-tensors";
import type { Scene } from "../../scene/scene";
import { outputSum, shareSum, write, writeSum } from "./derivations";
import { keyName, number, one, queryName, type Scalar, shown, type Unnamed } from "./step";

export function toOutput(scene: Scene, given: StepTensors | null): Unnamed[] {
  const { chain, site, tensors, key } = scene;
  if (!tensors.v.length) return [];
  const D = site.value_size;
  const K = site.keys;
  const part = Float64Array.from(tensors.value(key), (v) => v * chain.weights[key]);
  const steps: Unnamed[] = [
    {
      id: "output",
      why: `The values of all keys, each times its weight, added up: what this head makes for ${queryName(scene)}. ${keyName(scene)} ${isMasked(chain, key) && !chain.weights[key] ? "is masked and puts in nothing" : `puts in ${percent(chain.weights[key])} of its v`}.`,
      formula: [
        { symbol: "z", shape: [D] },
        "= Σ",
        { symbol: "weight", shape: [K] },
        "·",
        { symbol: "v", shape: [K, D] },
      ],
      vectors: [
        { id: "part", symbol: "weight · v", note: `of ${keyName(scene)}`, values: part, domain: scene.zEnd },
        { id: "z", symbol: "z", note: "of all keys", values: chain.z, domain: scene.zEnd, expand: outputSum(scene) },
      ],
    },
  ];
  const shares: Scalar[] = [
    {
      id: "share",
      symbol: `share of ${keyName(scene)}`,
      value: chain.share[key],
      text: shown(scene, chain.share[key]),
      expand: () => shareSum(scene),
    },
  ];
  const made = given ? write(scene, given) : null;
  if (!made || !given) {
    const kept = site.steps?.kept.includes("w_o");
    const why = kept
      ? "W_O of this head is not held here, as x is not."
      : "W_O is not known: no linear layer took z as it is, or the trace came from a file without it.";
    steps.push({ id: "write", why, scalars: shares });
    return steps;
  }
  const length = Math.hypot(...made);
  steps.push({
    id: "write",
    why: `What the head adds to the residual stream of ${queryName(scene)}. The layer adds up the writes of its ${count(site.heads, "head")}${given.bo ? ", and b_O" : ""}.`,
    formula: [
      { symbol: "write", shape: [given.width] },
      "=",
      { symbol: "z", shape: [D] },
      "·",
      { symbol: "W", sub: "O", shape: [D, given.width] },
    ],
    vectors: [{ id: "write", symbol: "write", values: made, domain: one(made), expand: writeSum(scene, given) }],
    scalars: [{ id: "length", symbol: "‖write‖", value: length, text: number(length) }, ...shares],
  });
  return steps;
}
