/** Every head of every layer: its pooled weights, its statistics, and the order in which it is shown. */

import { count } from "../../base/format";
import type { Site, Thumb } from "../../data/metadata";
import type { Source } from "../../data/source";
import type { HeadName } from "../../scene/level";

export interface Head {
  site: Site;
  head: number;
  /** Pooled weights [rows, columns] as bytes; null where the data has none. */
  octets: Uint8Array | null;
}

/** By layer, "L2H8"; with its stack where there are several. */
export function nameOf({ site, head }: Pick<Head, "site" | "head">): string {
  return `${site.stack ? `${site.stack} ` : ""}L${site.layer}H${head}`;
}

/** For those who edit it. */
export const headName = ({ site: { stack, layer }, head }: Head): HeadName => ({ stack, layer, head });

export function headsOf(source: Pick<Source, "meta" | "octets">): Head[] {
  return source.meta.sites.flatMap((site) => {
    const { thumb } = site;
    let all: Uint8Array | null = null;
    try {
      all = (thumb && source.octets?.(thumb.tensor)) ?? null;
    } catch {
      // damaged: an empty frame says so
    }
    const size = thumb ? thumb.rows * thumb.columns : 0;
    if (all && all.length !== size * site.heads) all = null;
    return Array.from({ length: site.heads }, (_, head) => ({
      site,
      head,
      octets: all?.subarray(head * size, (head + 1) * size) ?? null,
    }));
  });
}

export interface PixelRange {
  masked: boolean;
  broken: boolean;
  /** Several tokens to a patch. */
  pooled: boolean;
  sampled: Site | null;
  /** Differences, which have a sign. */
  signed: boolean;
  /** A weight that few rows of any head go beyond; of differences one that few changed rows of the most changed head do. */
  high: number;
}

/** What the thumbnails hold, taken together. */
export function pixelRangeOf(heads: Head[]): PixelRange {
  const stock: PixelRange = { masked: false, broken: false, pooled: false, sampled: null, signed: false, high: 1 };
  const largest: number[] = [];
  let changed = 0;
  for (const { site, octets } of heads) {
    const thumb = site.thumb as Thumb;
    if (!octets) continue;
    const zero = thumb.zero ?? 0;
    stock.signed ||= thumb.zero !== undefined;
    stock.pooled ||= thumb.rows < (thumb.queries ?? site.queries) || thumb.columns < (thumb.keys ?? site.keys);
    if (thumb.queries_sampled !== null) stock.sampled ??= site;
    const before = largest.length;
    for (let row = 0; row < thumb.rows; row++) {
      let most = 0;
      for (let at = row * thumb.columns; at < (row + 1) * thumb.columns; at++) {
        const byte = octets[at];
        if (byte === thumb.masked) stock.masked = true;
        else if (byte === thumb.broken) stock.broken = true;
        else if (Math.abs(byte - zero) > most) most = Math.abs(byte - zero);
      }
      largest.push(most / thumb.steps);
    }
    changed = Math.max(changed, usual(largest.slice(before).filter((most) => most > 0)));
  }
  // heads that did not change would pull the scale down, and all that did would look alike
  if (largest.length) stock.high = stock.signed ? changed : usual(largest);
  return stock;
}

/** Four of five numbers are no larger. */
function usual(sizes: number[]): number {
  return sizes.sort((a, b) => a - b)[Math.floor(0.8 * (sizes.length - 1))] ?? 0;
}

export const sampleSaid = (site: Site) =>
  `From ${count(site.thumb?.queries_sampled ?? 0, "query", "queries")} of ${count(site.queries, "query", "queries")}, spread evenly over the text.`;
