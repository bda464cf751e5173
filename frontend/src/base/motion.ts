/** Motion where it explains: what changed goes from where it was to where it is. None where the reader wants less of it. */

const LASTS = 220; // ms
const SEEN = 0.04; // of its scale: a bar that changes less shows it without motion
const moving = new WeakMap<Element, Animation>();
const bars = new WeakMap<Element, [from: number, to: number]>();

export const still = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;

export const isMoving = (element: Element): boolean => moving.get(element)?.playState === "running";

/** It goes from there to what its style says now. */
export function moveFrom(element: Element, from: Keyframe): Animation | null {
  stop(element);
  if (still()) return null;
  const motion = element.animate([{ ...from, offset: 0 }], { duration: LASTS, easing: "ease-out" });
  moving.set(element, motion);
  return motion;
}

/** It is where its style says. */
export const stop = (element: Element): void => moving.get(element)?.cancel();

/** A bar from the left gets a `length`, a part of its scale, as `width`. `moves`: it goes there, by its transform where it can, which lays nothing out anew. */
export function setBar(bar: HTMLElement, length: number, width: string, moves: boolean): void {
  const before = moves ? lengthNow(bar) : length;
  stop(bar);
  bars.set(bar, [length, length]);
  bar.style.width = width;
  if (Math.abs(length - before) <= SEEN) return;
  // one that all but vanishes is drawn a pixel wide, and cannot be stretched
  const from = length > SEEN ? { transform: `scaleX(${before / length})` } : { width: `${100 * before}%` };
  if (moveFrom(bar, from)) bars.set(bar, [before, length]);
}

/** By the clock: to ask for its style would have the browser style everything anew for each bar. */
function lengthNow(bar: HTMLElement): number {
  const [from, to] = bars.get(bar) ?? [0, 0];
  const done = moving.get(bar)?.effect?.getComputedTiming().progress ?? 1;
  return from + (to - from) * done;
}
