/** What the model saw, below a saved picture: each image with the query on it, and the weight of each patch over it. */

import { escaped, tag } from "../../base/svg";
import type { PatchGrid } from "../../data/metadata";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { below } from "./below";

/** One image. `weight`: of each token; null: the picture as it is. `marked`: the token with a frame. */
interface Pane {
  grid: PatchGrid;
  said: string;
  weight: ((token: number) => number) | null;
  marked: number;
}

const EDGE = 16;
const GAP = 20;
const LONG = 180; // of the longer side of an image
const BELOW = 28;

/** The same picture with the images among its tokens below it; itself where there are none. */
export function withImages(picture: Picture, scene: Scene): Picture {
  const panes = scene.pair ? panesOfPair(scene) : panesOf(scene);
  if (panes.length === 0) return picture;
  const room = Math.max(picture.width, 2 * (LONG + EDGE) + GAP);
  const drawn: string[] = [];
  let [x, y, tall] = [EDGE, picture.height, 0];
  for (const pane of panes) {
    const [width, height] = sizeOf(pane.grid);
    if (x > EDGE && x + width + EDGE > room) [x, y, tall] = [EDGE, y + tall + BELOW, 0];
    drawn.push(tag("g", { transform: `translate(${x} ${y})` }, ...draw(pane, width, height, scene)));
    x += width + GAP;
    tall = Math.max(tall, height);
  }
  return below(picture, scene, room, y + tall + BELOW + EDGE, drawn);
}

function panesOf({ meta, site, chain, query, key }: Scene): Pane[] {
  const pictures = grids(meta.tokens[site.query_tokens]).map((grid) => ({
    grid,
    said: "the query",
    weight: null,
    marked: query,
  }));
  const weights = grids(meta.tokens[site.key_tokens]).map((grid) => ({
    grid,
    said: "weight of each patch",
    weight: (token: number) => chain.weights[token] ?? 0,
    marked: key,
  }));
  return [...pictures, ...weights];
}

/** Of a comparison, both images beside each other: the change of each patch has the same scale on both. */
function panesOfPair({ pair, chain, key }: Scene): Pane[] {
  if (!pair) return [];
  return [pair.a, pair.b].flatMap(({ name, meta, tensors: { site }, query, keys }) => {
    const place = new Map(keys.map((own, merged) => [own, merged]));
    const change = (token: number) => chain.weights[place.get(token) ?? -1] ?? 0;
    return [
      ...grids(meta.tokens[site.query_tokens]).map((grid) => ({
        grid,
        said: `${name}: the query`,
        weight: null,
        marked: query,
      })),
      ...grids(meta.tokens[site.key_tokens]).map((grid) => ({
        grid,
        said: `${name}: change of each patch, B − A`,
        weight: change,
        marked: keys[key] ?? -1,
      })),
    ];
  });
}

const grids = (table: { grids?: PatchGrid[] }): PatchGrid[] => table.grids ?? [];

function sizeOf({ rows, columns }: PatchGrid): [number, number] {
  const patch = LONG / Math.max(rows, columns);
  return [columns * patch, rows * patch];
}

function draw({ grid, said, weight, marked }: Pane, width: number, height: number, scene: Scene): string[] {
  const { palette } = scene.ramp;
  const patch = width / grid.columns;
  const at = (place: number) => ({
    x: (place % grid.columns) * patch,
    y: Math.floor(place / grid.columns) * patch,
    width: patch,
    height: patch,
  });
  const parts: string[] = [];
  if (grid.png) {
    // pale, so that the ink of a weight is seen on every part of it
    const look: Record<string, string | number> = weight ? { opacity: 0.3, style: "filter: grayscale(1)" } : {};
    const href = `data:image/png;base64,${grid.png}`;
    parts.push(tag("image", { width, height, href, preserveAspectRatio: "none", ...look }));
  }
  if (weight)
    for (const [place, token] of grid.tokens.entries()) {
      const value = scene.without && scene.aside.keys[token] && !scene.pair ? 0 : weight(token);
      const part = Math.min(1, Math.abs(value) / scene.weightEnd);
      if (!(part > 0)) continue;
      const fill = !scene.pair ? palette.ink : value < 0 ? palette.negative : palette.positive;
      parts.push(
        tag("rect", {
          ...at(place),
          fill,
          "fill-opacity": part.toFixed(3),
          "data-patch": token,
          "data-weight": String(value),
        }),
      );
    }
  const frame = { fill: "none", stroke: palette.ink };
  parts.push(tag("rect", { width, height, ...frame, "stroke-opacity": 0.4 }));
  const place = grid.tokens.indexOf(marked);
  if (place >= 0)
    // the lighter line tells the frame from dark patches
    parts.push(
      tag("rect", { ...at(place), ...frame, stroke: palette.ground, "stroke-width": 5 }),
      tag("rect", { ...at(place), ...frame, "stroke-width": 2, "data-marked": marked }),
    );
  const below = { y: height + 15, "font-size": 11, fill: palette.ink, "fill-opacity": 0.75 };
  parts.push(tag("text", below, escaped(said)));
  return parts;
}
