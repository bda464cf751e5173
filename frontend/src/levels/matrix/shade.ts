/** From numbers to colours: ink for weights, the ramp of signs for scores and q · k. */

import { symmetric } from "../../base/format";
import { inkRamp, nice, niceChange, nicePart, type Ramp, weightDomain } from "../../base/scale";
import type { Quantity } from "./field";

/** Weights below are not told apart on a logarithmic scale. */
export const FLOOR = 1e-4;

export const NAMES: Record<Quantity, string> = { weights: "weight", scores: "score", dot: "q · k" };

export const DIFFERENCE = "weight, B − A";

export class Shade {
  readonly ramp: Ramp;
  readonly end: number;

  constructor(
    ramp: Ramp,
    readonly quantity: Quantity,
    end: number,
    readonly largest: number,
    readonly log: boolean,
    /** Weights that are differences, which have a sign. */
    readonly signed = false,
  ) {
    this.ramp = quantity === "weights" && !signed ? inkRamp(ramp) : ramp;
    this.end = quantity !== "weights" ? nice(end) : signed ? niceChange(end) : nicePart(log ? largest : end);
  }

  get clips(): boolean {
    return this.largest > this.end * (1 + 1e-6);
  }

  /** The part of the scale that a number has, -1 … 1. */
  part(value: number): number {
    if (!this.log) return value / this.end;
    return value <= FLOOR ? 0 : Math.log(value / FLOOR) / Math.log(this.end / FLOOR);
  }

  pixel(value: number): number {
    return this.ramp.pixel(this.part(value), 1);
  }

  /** The domain, in words. */
  get said(): string {
    if (this.signed) return `${symmetric(this.end * 100)} %`;
    if (this.quantity !== "weights") return symmetric(this.end);
    const domain = weightDomain(this.end);
    return this.log ? `${domain.replace(/^0/, "0.01 %")}, logarithmic; less is drawn as zero` : domain;
  }

  gradient(): string {
    if (this.quantity !== "weights" || this.signed) return this.ramp.gradient();
    const stops = [0, 0.25, 0.5, 0.75, 1].map((t) => this.ramp.css(t, 1));
    return `linear-gradient(to right, ${stops.join(", ")})`;
  }
}
