/** Lines between two columns of tokens: which are drawn, and where. Pure. */

export interface Line {
  query: number;
  key: number;
  weight: number;
  /** How thick it is: the weight as a part of what is not hidden. */
  size: number;
  /** Which of the heads laid over each other. */
  head: number;
}

/** A calm S from the left edge to the right one. */
export function curve(width: number, from: number, to: number): string {
  const [a, b] = [round(from), round(to)];
  return `M0 ${a}C${round(width * 0.42)} ${a} ${round(width * 0.58)} ${b} ${round(width)} ${b}`;
}

const round = (value: number) => Math.round(value * 10) / 10;

/** Thickness in pixels: what is twice the weight is twice the line, above a hairline. */
export const thickness = (size: number, most: number) => 0.75 + Math.min(1, size) * most;

/** Weak lines are pale, so that a fan of them is no haze. */
export const opacity = (size: number) => Math.min(1, 0.08 + 1.5 * Math.sqrt(Math.max(0, size)));

const LEAST_LEFT = 1e-3; // of less weight beside the hidden tokens no picture is made large

/** What a weight is multiplied by to be a part of what the hidden tokens leave; 1 where nothing is hidden. */
export const magnified = (hidden: number) => (hidden > 0 ? 1 / Math.max(LEAST_LEFT, 1 - hidden) : 1);

/** Height of a line at `x`, or null where it is not. */
export function heightAt(x: number, width: number, from: number, to: number): number | null {
  if (x < 0 || x > width || width <= 0) return null;
  let [low, high] = [0, 1];
  for (let i = 0; i < 20; i++) {
    const t = (low + high) / 2;
    const at = 3 * (1 - t) ** 2 * t * 0.42 + 3 * (1 - t) * t ** 2 * 0.58 + t ** 3;
    if (at * width < x) low = t;
    else high = t;
  }
  const t = (low + high) / 2;
  return from + (to - from) * (3 * (1 - t) * t ** 2 + t ** 3);
}

export interface Chosen {
  lines: Line[];
  /** Weight of all lines that were offered, and of those chosen. */
  offered: number;
  drawn: number;
}

/** Lines at or above `threshold`, the strongest `budget` of them. What is not a number is a line of no weight. */
export function choose(lines: Line[], threshold: number, budget: number): Chosen {
  let offered = 0;
  const above: Line[] = [];
  for (const line of lines) {
    if (Number.isFinite(line.weight)) offered += line.weight;
    if (line.weight > 0 && line.size >= threshold) above.push(line);
  }
  if (above.length > budget) {
    above.sort((a, b) => b.size - a.size || a.query - b.query || a.key - b.key);
    above.length = budget;
  }
  return { lines: above, offered, drawn: above.reduce((sum, line) => sum + line.weight, 0) };
}

/** Positions of a slider from 0 to 100 to thresholds from 0 to 1, fine where weights are small. */
export const thresholdAt = (position: number) => Number(((position / 100) ** 2).toFixed(4));
export const positionOf = (threshold: number) => Math.round(Math.sqrt(threshold) * 100);
