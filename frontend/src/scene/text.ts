/** What sentences are made of. */

import type { Site } from "../data/metadata";
import { notes } from "../generated/words.json";
import { isolated } from "./labels";

/** Text, or a token to be set as one. */
export type Part = string | { token: string; key: number | null; special: boolean; at?: number };

export const after = (part: Exclude<Part, string>) => (part.at === undefined ? "" : ` at ${part.at}`);

export const asText = (parts: Part[]) =>
  parts.map((part) => (typeof part === "string" ? part : isolated(part.token) + after(part))).join("");

/** How the site scales q · k, as one writes it. */
export function scalingName({ scaling, head_size, scaled_by_model }: Site): string {
  if (scaled_by_model) return "scaled by the model itself";
  if (Math.abs(scaling * Math.sqrt(head_size) - 1) < 1e-6) return `÷ √${head_size}`;
  return scaling === 1 ? "× 1" : `× ${Number(scaling.toPrecision(4))}`;
}

export type NoteName = keyof typeof notes;

/** A note that page and figures share, filled in. */
export const note = (name: NoteName, parts: Record<string, string> = {}): string =>
  notes[name].replace(/\{(\w+)\}/g, (_, part: string) => parts[part]);
