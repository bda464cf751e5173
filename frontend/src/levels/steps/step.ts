/** A step of the chain as it is written out, and how its numbers and tokens are named. */

import { decimals, fixed, percent } from "../../base/format";
import { robustDomain } from "../../base/scale";
import { isMasked } from "../../chain/chain";
import { isolated, named } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import type { Piece } from "./formula";
import type { Sum } from "./sums";
import type { Vector } from "./vector";

export interface Scalar {
  id: string;
  symbol: string;
  value: number;
  text: string;
  expand?: () => Sum;
}

export interface Step {
  id: string;
  number: string;
  name: string;
  /** What it is for, in a sentence or two. */
  why: string;
  /** What is added to it where there are keys to press. */
  onScreen?: string;
  formula?: Piece[];
  /** Where the weights stand in the model. */
  place?: string;
  vectors?: Vector[];
  scalars?: Scalar[];
  /** Lines below the numbers. */
  said?: string[];
  /** Drawn by the level itself: the running sum, the request for x. */
  special?: "running" | "ask";
  /** Does not apply here: one line and nothing else. */
  quiet?: boolean;
  /** This layer has no such step at all. */
  absent?: boolean;
}

export const number = (value: number) => fixed(value, Math.max(2, decimals(Math.abs(value))));
export const scalar = (id: string, symbol: string, value: number, expand?: () => Sum): Scalar => ({
  id,
  symbol,
  value,
  text: number(value),
  expand,
});
/** A step before it has its number and name from the payload; a name of its own goes before that. */
export type Unnamed = Omit<Step, "number" | "name"> & { name?: string };

export const quiet = (id: string, why: string, name?: string): Unnamed => ({ id, name, why, quiet: true });
export const absent = (id: string, why: string): Unnamed => ({ id, why, quiet: true, absent: true });

/** A weight or share of this key. */
export const shown = ({ chain, key }: Scene, part: number) =>
  isMasked(chain, key) && !part ? "masked" : percent(part);

/** The end of a vector's scale. */
export const one = (values: ArrayLike<number>) => robustDomain(values);
export const queryName = (scene: Scene) => `“${isolated(named(scene.queryLabels[scene.query]))}”`;
export const keyName = (scene: Scene) => `“${isolated(named(scene.keyLabels[scene.key]))}”`;
