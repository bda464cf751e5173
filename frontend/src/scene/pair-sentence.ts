/** What changed, in one sentence. */

import { percent } from "../base/format";
import { Difference, maskedAt, numberAt, type PairScene } from "../chain/difference";
import type { HeadTensors } from "../data/head-tensors";
import { named } from "./labels";
import type { Scene } from "./scene";
import type { Part } from "./text";

const FEW = 0.0005;

/** `key`: speak of this key; null: of what grew most and what shrank most. */
export function sentenceOfPair(scene: Scene, pair: PairScene): Part[] {
  const { queryLabels, query, pinned } = scene;
  const label = queryLabels[query];
  const who: Part = { token: named(label), key: null, special: label.special };
  if (!pair.a.chain || !pair.b.chain) {
    const there = pair.a.chain ? "A" : pair.b.chain ? "B" : null;
    return [who, there ? ` is a query only in ${there}: there is nothing to compare it with.` : " is no query here."];
  }
  const { weights } = scene.chain;
  if (weights.some(Number.isNaN)) return [who, " has weights that are not numbers in one of the two."];
  let moved = 0;
  for (const one of weights) moved += Math.abs(one) / 2;
  if (moved < FEW) return [who, " attends alike in A and in B: no weight differs by more than 0.1 %."];
  const both = (key: number) => {
    if (pair.a.keys[key] === null) return `${said(pair, "b", key)} in B, which alone has it`;
    if (pair.b.keys[key] === null) return `${said(pair, "a", key)} in A, which alone has it`;
    return `${said(pair, "a", key)} in A and ${said(pair, "b", key)} in B`;
  };
  const keys = [...weights.keys()].sort((i, j) => Math.abs(weights[j]) - Math.abs(weights[i]));
  const first = pinned ? scene.key : keys[0];
  const parts: Part[] = [who, " attends to ", token(scene, first), ` with ${both(first)}`];
  const other = keys.find((key) => key !== first && Math.sign(weights[key]) === -Math.sign(weights[first]));
  if (!pinned && other !== undefined && Math.abs(weights[other]) >= 0.01)
    parts.push(", to ", token(scene, other), ` with ${both(other)}`);
  parts.push(`. ${percent(moved)} of its weight has moved.`);
  return parts;
}

/** "A 52.7 %", "B 31.0 %": the weights behind one difference, of one head, query and key. */
export function besideSaid(
  [head, ...others]: HeadTensors[],
  [query, ...rest]: number[],
  [key, ...more]: number[],
): string[] {
  if (!(head instanceof Difference) || others.length || rest.length || more.length) return [];
  const here = head.at(query);
  if (!here.a.chain || !here.b.chain) return [];
  return [`A ${said(here, "a", key)}`, `B ${said(here, "b", key)}`];
}

function said(pair: PairScene, side: "a" | "b", key: number): string {
  const weight = numberAt(pair[side], (chain) => chain.weights, key);
  if (weight === null) return "not there";
  return maskedAt(pair[side], key) ? "nothing (masked)" : percent(weight);
}

function token({ keyLabels, query, site }: Scene, key: number): Part {
  if (site.kind === "self" && key === query) return "itself";
  const label = keyLabels[key];
  const again = keyLabels.some((one) => one !== label && one.text === label.text);
  return { token: named(label), key, special: label.special, at: again ? key : undefined };
}
