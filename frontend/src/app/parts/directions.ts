/** Words in reading order: those of Hebrew, Arabic and their kin run from the right, also within a text that does not. */

import { h } from "../../base/dom";
import { RIGHT } from "../../scene/labels";

export type Direction = "ltr" | "rtl";

/** Something on a line: its text decides where it runs to; none has no say, as punctuation has not. */
export interface Unit {
  element: HTMLElement;
  text: string;
}

const STRONG = /\p{L}/u;

/** By its first letter; null where it has none. */
export function directionOf(text: string): Direction | null {
  const letter = STRONG.exec(text)?.[0];
  return letter ? (RIGHT.test(letter) ? "rtl" : "ltr") : null;
}

/** That of the first letter. */
export function baseOf(texts: Iterable<string>): Direction {
  for (const text of texts) {
    const direction = directionOf(text);
    if (direction) return direction;
  }
  return "ltr";
}

/**
 * The units, those that run against `base` together in a span that runs their way. What has no direction goes with its
 * neighbours where they agree, else with the base, as in Unicode's algorithm (UAX 9, N1 and N2).
 */
export function inRuns(units: Unit[], base: Direction): HTMLElement[] {
  const out: HTMLElement[] = [];
  let run: HTMLElement | null = null;
  let waiting: HTMLElement[] = [];
  for (const { element, text } of units) {
    const direction = directionOf(text);
    if (direction === null) {
      waiting.push(element);
      continue;
    }
    if (direction === base) {
      out.push(...waiting, element);
      run = null;
    } else if (run) run.append(...waiting, element);
    else {
      run = h("span", { class: "run", dir: direction }, element);
      out.push(...waiting, run);
    }
    waiting = [];
  }
  return [...out, ...waiting];
}
