/**
 * The picture of a long head, in tiles of 256 × 256 cells: at zoom 0 one tile holds all of it, each step halves the block of
 * a cell. Coarser tiles stay below until finer ones are there. Whoever holds the trace is asked for them; a page on its own
 * computes them, and those of a mean over heads, from one query of each block.
 */
import { h } from "../../base/dom";
import { type Picture, Pictured } from "../../data/pictured";
import type { Source, TileData } from "../../data/source";
import type { RowCache } from "../../heads/row-cache";
import { TimeSlices } from "../../heads/time-slices";
import { coarsest, computedTiles, type Place, SIDE } from "./computed-tiles";
import type { Marks } from "./paint";
import type { Shade } from "./shade";
import type { ViewBox } from "./viewbox";

const FADE = 160; // ms
const KEPT = 160; // tiles
const AT_ONCE = 24; // tiles of a request
const COMPUTED = 4; // tiles that a page computes before it shows them
const PAINTED = 4; // tiles that get their colours in one frame
const PAUSE = 50; // ms that the view rests before finer tiles are asked for
const MAP = 84; // px
const WHOLE: Place = [0, 0, 0];

interface Kept extends TileData {
  picture: HTMLCanvasElement | null;
  look: string;
  since: number;
}

/** Where cells are drawn, in device pixels. */
export interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
}

export class Tiles {
  /** Something fades in, or waits for its colours: draw again. */
  moving = false;
  /** Some of what is in sight stands for more than it was computed from. */
  coarse = true;
  /** Queries and keys of a cell in sight. */
  block: number;
  /** Where the small map of the whole head stands, and its pixels a token; null where all is in sight. */
  small: { left: number; top: number; size: number } | null = null;
  /** All there is, of a head that is not here. */
  private readonly picture: Picture | null;
  private readonly most: number;
  private readonly kept = new Map<string, Kept>();
  private asking: { places: Place[]; abort: AbortController } | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly slices = new TimeSlices();
  private failures = 0;

  /** `came`: there are more; `first`: the whole head at zoom 0. */
  constructor(
    private readonly source: Source,
    private readonly cache: RowCache,
    private readonly came: () => void,
    private readonly first: (whole: TileData) => void,
    private readonly notice: (text: string) => void,
  ) {
    this.most = coarsest(cache.site.queries, cache.site.keys);
    this.block = this.most;
    const [head] = cache.members;
    this.picture = head instanceof Pictured ? head.picture : null;
    if (!this.picture) return;
    this.block = Math.max(...this.picture.block);
    this.keep(WHOLE, { ...this.picture, exact: true });
  }

  /** Somebody can be asked: for one head, not for a mean. */
  get live(): boolean {
    return this.source.tiles !== undefined && this.cache.members.length === 1;
  }

  cancel(): void {
    clearTimeout(this.timer);
    this.slices.cancel();
    this.asking?.abort.abort();
    this.asking = null;
  }

  /** `ratio`: device pixels of a pixel of the box. */
  draw(context: CanvasRenderingContext2D, box: ViewBox, frame: Frame, shade: Shade, marks: Marks, ratio: number): void {
    const [cellX, cellY] = [box.cellX * ratio, box.cellY * ratio];
    const { picture: only } = this;
    let block = only ? this.block : 1;
    while (block < this.most && !only && block * Math.min(cellX, cellY) < 1) block *= 2;
    this.block = block;
    const zoom = only ? 0 : Math.log2(this.most / block);
    const seen = only ? [WHOLE] : this.inSight(zoom, box, frame.width / cellX, frame.height / cellY);
    const wanted: Place[] = zoom ? [WHOLE, ...seen] : seen;
    const now = performance.now();
    let painted = 0;
    this.moving = false;
    const look = `${shade.end} ${shade.log} ${shade.ramp.css(0, 1)} ${shade.ramp.css(0.5, 1)}`;
    const picture = (place: Place): Kept | null => {
      const tile = this.kept.get(place.join());
      if (!tile) return null;
      if (tile.look !== look) {
        if (painted === PAINTED) this.moving = true;
        else {
          painted++;
          tile.picture = painting(tile, shade, marks);
          tile.look = look;
        }
      }
      return tile.picture && tile;
    };
    context.save();
    context.beginPath();
    context.rect(frame.left, frame.top, frame.width, frame.height);
    context.clip();
    context.imageSmoothingEnabled = false;
    const hatch = hatching(context, marks, ratio);
    // nothing is called masked before it is known
    context.fillStyle = this.kept.has(WHOLE.join()) ? hatch : css(marks.ground);
    context.fillRect(frame.left, frame.top, frame.width, frame.height);
    context.fillStyle = hatch;
    const whole = seen.every((place) => now - (this.kept.get(place.join())?.since ?? now) >= FADE);
    for (let z = whole ? zoom : 0; z <= zoom; z++)
      for (const place of z === zoom ? seen : this.inSight(z, box, frame.width / cellX, frame.height / cellY)) {
        const tile = picture(place);
        if (!tile?.picture) continue;
        const cells = this.most >> z;
        const [wide, high] = only
          ? [only.keys, only.queries]
          : [tile.picture.width * cells, tile.picture.height * cells];
        const [x0, x1] = edges(frame.left, place[2] * SIDE * cells - box.x, wide, cellX);
        const [y0, y1] = edges(frame.top, place[1] * SIDE * cells - box.y, high, cellY);
        const alpha = z === 0 ? 1 : Math.min(1, (now - tile.since) / FADE);
        if (alpha < 1) this.moving = true;
        context.globalAlpha = alpha;
        context.fillRect(x0, y0, x1 - x0, y1 - y0); // masked cells let the hatching through, and no coarser tile
        context.drawImage(tile.picture, x0, y0, x1 - x0, y1 - y0);
      }
    context.globalAlpha = 1;
    if (block === 1 && Math.min(cellX, cellY) >= 8) gaps(context, box, frame, cellX, cellY);
    const all = picture(WHOLE)?.picture;
    this.small = null;
    const { queries, keys } = this.cache.site;
    if (all && Math.max(queries * cellY - frame.height, keys * cellX - frame.width) > 1)
      this.map(context, all, box, frame, marks, ratio);
    context.restore();
    this.coarse = wanted.some((place) => this.kept.get(place.join())?.exact !== true);
    this.ask(wanted);
  }

  /** The tiles of a zoom in sight of which some pair may be seen. `columns`, `rows`: cells in sight. */
  private inSight(zoom: number, { x, y }: ViewBox, columns: number, rows: number): Place[] {
    const { queries, keys, mask } = this.cache.site;
    const cells = SIDE * (this.most >> zoom);
    const out: Place[] = [];
    for (let row = Math.floor(y / cells); row * cells < Math.min(queries, y + rows); row++)
      for (let col = Math.floor(x / cells); col * cells < Math.min(keys, x + columns); col++) {
        const nearest = col * cells - Math.min(queries, (row + 1) * cells) + 1;
        const farthest = Math.min(keys, (col + 1) * cells) - 1 - row * cells;
        const hidden = (mask.upper !== null && nearest > mask.upper) || (mask.lower !== null && farthest < mask.lower);
        if (!hidden || mask.empty_rows === "uniform" || zoom === 0) out.push([zoom, row, col]);
      }
    return out;
  }

  /** Where the view is in the whole. */
  private map(
    context: CanvasRenderingContext2D,
    all: HTMLCanvasElement,
    { x, y, cellX, cellY }: ViewBox,
    frame: Frame,
    marks: Marks,
    ratio: number,
  ): void {
    const { queries, keys } = this.cache.site;
    const size = (MAP * ratio) / Math.max(queries, keys);
    const [left, top] = [frame.left + frame.width - keys * size - 8 * ratio, frame.top + 8 * ratio];
    this.small = { left: left / ratio, top: top / ratio, size: size / ratio };
    context.imageSmoothingEnabled = true;
    context.fillStyle = css(marks.ground);
    context.fillRect(left - ratio, top - ratio, keys * size + 2 * ratio, queries * size + 2 * ratio);
    context.drawImage(all, left, top, keys * size, queries * size);
    context.strokeStyle = css(marks.ink);
    context.lineWidth = ratio;
    context.strokeRect(left, top, keys * size, queries * size);
    context.lineWidth = 2 * ratio;
    const [wide, high] = [frame.width / ratio / cellX, frame.height / ratio / cellY];
    const least = 5 * ratio; // a far smaller part can still be found
    context.strokeRect(left + x * size, top + y * size, Math.max(least, wide * size), Math.max(least, high * size));
  }

  // -- where they come from

  /** What is missing comes first, coarse, then what is coarse; one request at a time, given up when none of it is in sight. */
  private ask(wanted: Place[]): void {
    const missing = wanted.filter((place) => !this.kept.has(place.join()));
    const unsure = this.live ? wanted.filter((place) => this.kept.get(place.join())?.exact === false) : [];
    const names = new Set(wanted.map(String));
    if (this.asking) {
      if (this.asking.places.some((place) => names.has(String(place)))) return;
      this.cancel();
    }
    clearTimeout(this.timer);
    // what is computed here comes a few at a time, the whole head by itself before them
    const atOnce = this.live ? AT_ONCE : this.kept.size ? COMPUTED : 1;
    const places = (missing.length ? missing : unsure).slice(0, atOnce);
    const wait = this.failures ? Math.min(60_000, 1500 * 2 ** this.failures) : this.kept.size ? PAUSE : 0;
    if (places.length) this.timer = setTimeout(() => void this.fetch(places, missing.length > 0), wait);
  }

  private async fetch(places: Place[], coarse: boolean): Promise<void> {
    const abort = new AbortController();
    this.asking = { places, abort };
    const { site, head } = this.cache.members[0];
    try {
      const came =
        this.live && this.source.tiles
          ? await this.source.tiles({ site: site.index, head, tiles: places, coarse }, abort.signal)
          : await computedTiles(this.cache, places, this.slices);
      if (abort.signal.aborted) return;
      this.failures = 0;
      for (const [i, place] of places.entries()) this.keep(place, came[i]);
    } catch (error) {
      if (abort.signal.aborted) return;
      if (!this.failures++) this.notice((error as Error).message);
    }
    this.asking = null;
    this.came();
  }

  private keep(place: Place, data: TileData): void {
    const name = place.join();
    const before = this.kept.get(name);
    this.kept.delete(name);
    this.kept.set(name, {
      ...data,
      picture: before?.picture ?? null,
      look: "",
      since: before?.since ?? performance.now(),
    });
    if (place[0] === 0) this.first(data);
    for (const old of this.kept.keys()) {
      if (this.kept.size <= KEPT) break;
      if (old !== "0,0,0") this.kept.delete(old);
    }
  }
}

/** From and to, on whole device pixels. */
const edges = (origin: number, from: number, count: number, cell: number): [number, number] => [
  Math.round(origin + from * cell),
  Math.round(origin + (from + count) * cell),
];

const css = (pixel: number) => `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})`;

function painting({ values, columns }: TileData, shade: Shade, marks: Marks): HTMLCanvasElement {
  const canvas = h("canvas", {});
  canvas.width = columns;
  canvas.height = values.length / columns;
  const pixels = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    pixels[i] = value < 0 ? 0 : value >= 0 ? shade.pixel(value) : marks.ink;
  }
  const image = new ImageData(new Uint8ClampedArray(pixels.buffer), columns, canvas.height);
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

/** As masked cells are hatched in a short text. */
function hatching(context: CanvasRenderingContext2D, marks: Marks, ratio: number): CanvasPattern | string {
  const period = Math.max(5, Math.round(5 * ratio));
  const canvas = h("canvas", {});
  canvas.width = canvas.height = period;
  const pen = canvas.getContext("2d");
  if (pen) {
    pen.fillStyle = css(marks.ground);
    pen.fillRect(0, 0, period, period);
    pen.fillStyle = css(marks.hatch);
    for (let i = 0; i < period; i++) pen.fillRect(i, period - 1 - i, 1, 1);
  }
  return context.createPattern(canvas, "repeat") ?? css(marks.ground);
}

/** A pixel between large cells. */
function gaps(context: CanvasRenderingContext2D, { x, y }: ViewBox, frame: Frame, cellX: number, cellY: number): void {
  for (let at = (1 - (x % 1)) * cellX; at < frame.width; at += cellX)
    context.clearRect(Math.round(frame.left + at) - 1, frame.top, 1, frame.height);
  for (let at = (1 - (y % 1)) * cellY; at < frame.height; at += cellY)
    context.clearRect(frame.left, Math.round(frame.top + at) - 1, frame.width, 1);
}
