/** Tiles that a page computes by itself: where each is, and the weights of the rows that stand for its blocks. */

import type { TileData } from "../../data/source";
import type { RowCache } from "../../heads/row-cache";
import type { TimeSlices } from "../../heads/time-slices";

export const SIDE = 256;
export type Place = [zoom: number, row: number, col: number];

/** Queries and keys of a cell at zoom 0. */
export function coarsest(queries: number, keys: number): number {
  let block = 1;
  while (SIDE * block < Math.max(queries, keys)) block *= 2;
  return block;
}

/** Here, a few rows a frame: the query in the middle of each block stands for the others. */
export function computedTiles(cache: RowCache, places: Place[], slices: TimeSlices): Promise<TileData[]> {
  const { queries, keys } = cache.site;
  const most = coarsest(queries, keys);
  const tiles = places.map(([zoom, row, col]) => {
    const block = most >> zoom;
    const [top, left] = [row * SIDE * block, col * SIDE * block];
    const size = (from: number, count: number) => Math.ceil(Math.min(SIDE * block, count - from) / block);
    const columns = size(left, keys);
    const values = new Float32Array(columns * size(top, queries)).fill(-1);
    return { block, top, left, data: { values, columns, exact: block === 1 } };
  });
  const work: [query: number, tile: (typeof tiles)[0], line: number][] = [];
  for (const tile of tiles)
    for (let line = 0; line * tile.data.columns < tile.data.values.length; line++)
      work.push([Math.min(queries - 1, tile.top + line * tile.block + (tile.block >> 1)), tile, line]);
  work.sort(([a], [b]) => a - b); // tiles beside each other share their rows
  let at = 0;
  const step = () => {
    const [query, { block, left, data }, line] = work[at++];
    const { weights, allowed } = cache.exact(query);
    for (let c = 0; c < data.columns; c++) {
      let largest = -1;
      for (let j = left + c * block; j < Math.min(keys, left + (c + 1) * block); j++) {
        const weight = weights[j];
        if (!(weight <= largest) && (weight > 0 || Number.isNaN(weight) || !allowed || allowed[j])) largest = weight;
        if (Number.isNaN(largest)) break;
      }
      data.values[line * data.columns + c] = largest;
    }
    return at < work.length;
  };
  return new Promise((resolve) =>
    slices.run(
      step,
      () => {},
      () => resolve(tiles.map(({ data }) => data)),
    ),
  );
}
