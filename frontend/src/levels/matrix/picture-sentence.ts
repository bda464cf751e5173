/** The sentence of a head of which a page holds a picture alone: its strongest link, and how to see the rest. */

import type { Picture } from "../../data/pictured";
import { linkSaid } from "../../heads/link-sentence";
import { placeName } from "../../heads/members";
import type { Label } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import type { Part } from "../../scene/text";

export function ofPicture({ site, state, queryLabels, keyLabels }: Scene, picture: Picture): Part[] {
  const place = placeName({ site, head: state.head }, state.average);
  const labels: Label[][] = [];
  labels[site.query_tokens] = queryLabels;
  labels[site.key_tokens] = keyLabels;
  const link = site.links?.[state.head];
  const stack = site.stack ? `, stack="${site.stack}"` : "";
  return [
    `${place[0].toUpperCase()}${place.slice(1)}, a coarse picture of ${picture.rows} × ${picture.columns} cells`,
    ...(link ? ["; the strongest link is ", ...linkSaid({ site }, link, labels)] : []),
    `. This page leaves its numbers out: trace.show(layer=${site.layer}, head=${state.head}${stack}), a larger max_mb, or attnscope serve shows them.`,
  ];
}
