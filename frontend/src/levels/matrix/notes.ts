/** What the grid leaves out or puts together, in words beneath it. */

import type { Axes } from "../../heads/axes";
import { type Note, notesOf } from "../../heads/notes";
import { type Found, rowsOf, slotRow } from "../../heads/rows";
import type { Scene } from "../../scene/scene";
import type { Field } from "./field";

/** `pooled`: several cells share a pixel. */
export function gridNotes(scene: Scene, axes: Axes, found: Found, field: Field, pooled: boolean): Note[] {
  const slot = Math.max(0, axes.query);
  const rows = rowsOf(field.cache, axes, slot, true);
  const notes = notesOf(scene, axes, found, rows, slotRow(field.cache, axes, slot, true));
  const weights = field.quantity === "weights";
  if (axes.merged && !weights)
    notes.push({
      name: "scores",
      text: `A word's ${field.quantity === "dot" ? "q · k" : "score"} is the mean over its pieces.`,
    });
  if (scene.state.quantity !== "weights" && !field.cache.hasScores)
    notes.push({
      name: "quantity",
      text: scene.site.weights_only
        ? "Only weights were captured here, so the cells hold weights."
        : "A mean is of weights: scores of different heads have no common scale.",
    });
  if (pooled)
    notes.push({
      name: "pooled",
      text: "Several cells share a pixel here, which shows the largest of them (max); zoom in and every cell is drawn.",
    });
  if (field.cache.signed)
    notes.push({
      name: "difference",
      text: "Weight in B minus weight in A: orange grew, blue shrank; a token that one text lacks has no weight there. Rows of a query that only one text has are hatched.",
    });
  else if (weights)
    notes.push({
      name: "sums",
      text: `Bars below: what each key receives, the sum of its column.${field.anyUneven ? " Bars on the right: the sum of a row where it is not 1, because some of its weight is hidden or goes to a sink." : ""}`,
    });
  return notes;
}

/** Why there is no grid. */
export function whyNone({ site }: Scene, found: Found | null): string {
  if (found?.cache?.large)
    return `${site.queries} queries × ${site.keys} keys are more cells than a page can hold (16 million, a text of 4,000 tokens). The lines show one query at a time.`;
  if (found?.cache) return "Nothing is left to draw: every query or every key is hidden or outside the filter.";
  return found?.waiting.length
    ? "Waiting for the heads of this picture …"
    : "None of the heads of this picture are here.";
}
