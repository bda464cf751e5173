/** What the model heard, below a saved picture: each sound with the query in it, and the weight of each moment under it. */

import { escaped, tag } from "../../base/svg";
import type { Sound } from "../../data/metadata";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { paintHeard, secondsOf, weightsOf } from "../parts/sound-paint";
import { below } from "./below";

const [EDGE, HEARD, TALL, BELOW, LEAST] = [16, 56, 48, 40, 480];

/** The same picture with the sounds among its tokens below it; itself where there are none. */
export function withSounds(picture: Picture, scene: Scene): Picture {
  const { meta, site, query, key } = scene;
  const room = Math.max(picture.width, LEAST);
  const width = room - 2 * EDGE;
  const drawn: string[] = [];
  let y = picture.height;
  const add = (table: number, marked: number, weighted: boolean) => {
    const { sound } = meta.tokens[table];
    if (!sound) return;
    drawn.push(tag("g", { transform: `translate(${EDGE} ${y})` }, ...strip(sound, width, marked, weighted, scene)));
    y += HEARD + (weighted ? TALL : 0) + BELOW;
  };
  const both = site.query_tokens === site.key_tokens;
  if (!both) add(site.query_tokens, query, false);
  add(site.key_tokens, both ? query : key, true);
  return drawn.length ? below(picture, scene, room, y + EDGE, drawn) : picture;
}

function strip(sound: Sound, width: number, marked: number, weighted: boolean, scene: Scene): string[] {
  const { palette } = scene.ramp;
  const { positions, each } = sound;
  const heard = document.createElement("canvas");
  paintHeard(heard, sound, palette.ink);
  const href = heard.toDataURL("image/png");
  const parts = [tag("image", { width, height: HEARD, href, preserveAspectRatio: "none" })];
  const frame = { height: HEARD, fill: "none", stroke: palette.ink };
  parts.push(tag("rect", { width, ...frame, "stroke-opacity": 0.4 }));
  if (marked < positions) {
    const x = (marked * width) / positions;
    parts.push(tag("rect", { x, width: width / positions, ...frame, "stroke-width": 1.5, "data-marked": marked }));
  }
  let bottom = HEARD;
  if (weighted) {
    bottom += TALL;
    const largest = weightsOf(positions, scene);
    const wide = width / largest.length;
    largest.forEach((weight, column) => {
      const height = Math.min(1, Math.abs(weight) / scene.weightEnd) * TALL;
      if (Math.abs(weight) < 0.0005) return;
      const fill = !scene.pair ? palette.ink : weight < 0 ? palette.negative : palette.positive;
      const place = { x: column * wide, y: bottom - height, width: wide, height };
      parts.push(tag("rect", { ...place, fill, "data-moment": column, "data-weight": String(weight) }));
    });
  }
  const text = { "font-size": 11, fill: palette.ink, "fill-opacity": 0.75 };
  for (const second of secondsOf(positions * each))
    parts.push(tag("text", { x: (second * width) / (positions * each), y: bottom + 14, ...text }, `${second} s`));
  const said = weighted ? "what was heard; below, the weight of each moment" : "what was heard: the queries";
  parts.push(tag("text", { y: bottom + 30, ...text }, escaped(said)));
  return parts;
}
