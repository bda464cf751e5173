/** Which cells are where: zoom and pan over a grid of `columns` × `rows` in a plot of so many pixels. Pure. */

export interface Plot {
  width: number;
  height: number;
}

export interface ViewBox {
  /** The cell coordinates of the upper left corner. */
  x: number;
  y: number;
  /** Pixels of a cell. */
  cellX: number;
  cellY: number;
}

const HIGH = 34; // of a cell when everything fits; zoomed in it may be larger
const ZOOMED = 64;

/** Everything in sight, over the whole width. */
export function fitted(columns: number, rows: number, plot: Plot): ViewBox {
  const cellX = plot.width / Math.max(1, columns);
  let cellY = Math.min(HIGH, plot.height / Math.max(1, rows));
  if (cellY >= 4) cellY = Math.floor(cellY);
  return { x: 0, y: 0, cellX, cellY };
}

/** Nothing beyond the edges, no smaller than what fits. */
export function clamped(box: ViewBox, columns: number, rows: number, plot: Plot): ViewBox {
  const least = fitted(columns, rows, plot);
  const side = (cell: number, at: number, smallest: number, n: number, room: number): [number, number] => {
    const size = Math.max(smallest, Math.min(Math.max(ZOOMED, 2.5 * smallest), cell));
    return [size, Math.max(0, Math.min(n - room / size, at))];
  };
  const [cellX, x] = side(box.cellX, box.x, least.cellX, columns, plot.width);
  const [cellY, y] = side(box.cellY, box.y, least.cellY, rows, plot.height);
  return { x, y, cellX, cellY };
}

/** Larger by `factor` about a point of the plot, which stays where it is. */
export function zoomed(box: ViewBox, factor: number, px: number, py: number): ViewBox {
  const [cx, cy] = [box.x + px / box.cellX, box.y + py / box.cellY];
  const [cellX, cellY] = [box.cellX * factor, box.cellY * factor];
  return { x: cx - px / cellX, y: cy - py / cellY, cellX, cellY };
}

export const panned = (box: ViewBox, dx: number, dy: number): ViewBox => ({
  ...box,
  x: box.x + dx / box.cellX,
  y: box.y + dy / box.cellY,
});

/** So that a cell is in sight. */
export function revealed(box: ViewBox, column: number, row: number, plot: Plot): ViewBox {
  const side = (at: number, cell: number, index: number, room: number) => {
    const seen = room / cell;
    if (index < at) return index;
    return index + 1 > at + seen ? index + 1 - seen : at;
  };
  return {
    ...box,
    x: side(box.x, box.cellX, column, plot.width),
    y: side(box.y, box.cellY, row, plot.height),
  };
}

/** First and one past the last cell in sight along one side. */
export const sight = (at: number, cell: number, n: number, room: number): [number, number] => [
  Math.max(0, Math.floor(at)),
  Math.min(n, Math.ceil(at + room / cell - 1e-9)),
];

/** Every how many cells a label has room. */
export const labelStep = (cell: number, room: number) => {
  const least = room / cell;
  if (least <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least) ?? 10 * power;
};
