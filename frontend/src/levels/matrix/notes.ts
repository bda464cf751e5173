/** What the grid leaves out or puts together, in words beneath it. */

import type { Picture } from "../../data/pictured";
import type { Axes } from "../../heads/axes";
import { type Note, notesOf } from "../../heads/notes";
import { type Found, rowsOf, slotRow } from "../../heads/rows";
import type { Scene } from "../../scene/scene";
import { MEAN } from "./background-fill";
import type { Field } from "./field";
import type { Tiles } from "./tiles";

/** `pooled`: several cells share a pixel. */
export function gridNotes(
  scene: Scene,
  axes: Axes,
  found: Found,
  field: Field,
  pooled: boolean,
  tiles: Tiles | null,
): Note[] {
  if (scene.picture && field.picture) return [{ name: "picture", text: noteOf(scene.picture) }];
  const slot = Math.max(0, axes.query);
  const rows = rowsOf(field.cache, axes, slot, true);
  const notes = notesOf(scene, axes, found, rows, slotRow(field.cache, axes, slot, true));
  const weights = field.quantity === "weights";
  if (axes.merged && !weights)
    notes.push({
      name: "scores",
      text: `A word's ${field.quantity === "dot" ? "q · k" : "score"} is the mean over its pieces.`,
    });
  if (scene.state.quantity !== "weights" && (tiles || !field.cache.hasScores))
    notes.push({
      name: "quantity",
      text: scene.site.weights_only
        ? "Only weights were captured here, so the cells hold weights."
        : field.cache.members.length > 1
          ? "A mean is of weights: scores of different heads have no common scale."
          : "The grid of a long text shows weights; point at a cell for its score.",
    });
  if (tiles?.coarse)
    notes.push({
      name: "coarse",
      text: tiles.live
        ? "A first picture: one query stands for each block of neighbours. The exact one is on its way."
        : `One of ${tiles.block} neighbouring queries stands for all of them here; zoom in and every weight is drawn.`,
    });
  else if (tiles && tiles.block > 1)
    notes.push({
      name: "tiles",
      text: `A cell of the picture is the largest of ${tiles.block} × ${tiles.block} weights (max); zoom in and every weight is drawn.`,
    });
  if (pooled && !tiles)
    notes.push({
      name: "pooled",
      text: "Several cells share a pixel here, which shows the largest of them (max); zoom in and every cell is drawn.",
    });
  if (field.cache.signed)
    notes.push({
      name: "difference",
      text: "Weight in B minus weight in A: orange grew, blue shrank; a token that one text lacks has no weight there. Rows of a query that only one text has are hatched.",
    });
  else if (weights && !tiles)
    notes.push({
      name: "sums",
      text: `Bars below: what each key receives, the sum of its column.${field.anyUneven ? " Bars on the right: the sum of a row where it is not 1, because some of its weight is hidden or goes to a sink." : ""}`,
    });
  return notes;
}

/** In the title of a saved picture: what a cell stands for. */
export function blockSaid({ picture }: Field, tiles: Tiles | null): string {
  if (picture) return `: largest weight of ${picture.block.join(" × ")} pairs`;
  return tiles && tiles.block > 1
    ? `: ${tiles.coarse ? "coarse, " : ""}largest weight of ${tiles.block} × ${tiles.block} pairs`
    : "";
}

function noteOf({ block: [queries, keys], sampled }: Picture): string {
  const cell = `A coarse picture: a cell is the largest weight (max) of up to ${queries} × ${keys} pairs of a query and a key`;
  return `${cell}${sampled === null ? "" : `, from ${sampled} queries spread evenly over the text`}. Zooming in shows no more.`;
}

/** Why there is no grid. */
export function whyNone({ site }: Scene, found: Found | null): string {
  if (found?.waiting.length) return "Waiting for the heads of this picture …";
  if (found?.cache?.large)
    return found.cache.signed
      ? `The grid of a text of ${site.keys} tokens shows one trace: choose A or B. The lines show B − A, a query at a time.`
      : `The grid of a text of ${site.keys} tokens shows the mean of ${MEAN} heads at most: take the mean over the heads of a layer, or one head. The lines show this mean, a query at a time.`;
  if (found?.cache) return "Nothing is left to draw: every query or every key is hidden or outside the filter.";
  return "None of the heads of this picture are here.";
}
