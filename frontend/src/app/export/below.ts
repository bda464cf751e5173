/** More under a saved picture: on the same ground, as wide as the wider of the two. */

import { SANS, tag } from "../../base/svg";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";

/** `parts`: SVG that stands where it should stand already, within `width` × `height`. */
export function below(picture: Picture, scene: Scene, width: number, height: number, parts: string[]): Picture {
  const size = { width: Math.max(picture.width, width), height };
  const whole = { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${size.width} ${height}`, ...size };
  const ground = tag("rect", { ...size, fill: scene.ramp.palette.ground });
  return { svg: tag("svg", { ...whole, "font-family": SANS }, ground, picture.svg, ...parts), ...size };
}
