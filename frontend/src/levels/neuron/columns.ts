/** Which columns the table has at a width, how wide they are, and what stands in their headings. */

import { count, decimals, fixed, percent, symmetric } from "../../base/format";
import { type Strip, stripFor } from "../../base/scale";
import { isMasked } from "../../chain/chain";
import { columns as texts } from "../../generated/words.json";
import { isolated } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { scalingName } from "../../scene/text";

export type Column = keyof typeof texts;
/** A column of cells, one for each number of a vector. */
export type Vector = Extract<Column, "k" | "product" | "v">;
export type Mode = "wide" | "medium" | "narrow";

export interface Layout {
  mode: Mode;
  columns: Column[];
  /** Vectors that can be unfolded, one at a time; empty where all have room. */
  folded: Vector[];
  template: string;
  /** Strips of q, k and q × k; and of v and z. */
  key: Strip;
  value: Strip;
}

const MEDIUM = 900;
const NARROW = 560;
const VECTORS: Vector[] = ["k", "product", "v"];
const GAP: Record<Mode, number> = { wide: 14, medium: 10, narrow: 8 };
const WIDTH: Record<Mode, Partial<Record<Column, number>>> = {
  wide: { token: 124, weight: 112, share: 112, dot: 56, score: 112 },
  medium: { token: 96, weight: 96, share: 96, dot: 54, score: 104 },
  narrow: { token: 84, weight: 54, share: 54 },
};

/** The order of the columns, on the page and in its picture. */
export const ORDER = Object.keys(texts) as Column[];

export const isVector = (column: Column): column is Vector => VECTORS.some((one) => one === column);

/** `unfolded`: the vector that the reader asked for where there is no room for all. */
export function layoutFor(width: number, scene: Scene, unfolded: Vector | null, ratio: number): Layout {
  const { head_size, value_size, weights_only } = scene.site;
  const mode: Mode = width < NARROW ? "narrow" : width < MEDIUM ? "medium" : "wide";
  const there = (column: Column) =>
    column === "v" || column === "share"
      ? scene.tensors.v.length > 0
      : !weights_only || column === "token" || column === "weight";
  const folded = mode === "wide" ? [] : VECTORS.filter(there);
  const shown = folded.find((one) => one === unfolded);
  const numbers = mode === "wide" || (mode === "medium" && shown !== "v"); // v is not what the sum is made of
  const fits = (column: Column) =>
    isVector(column) ? mode === "wide" || column === shown : numbers || (column !== "dot" && column !== "score");
  const columns = ORDER.filter((column) => there(column) && fits(column));
  const sizes = WIDTH[mode];
  const strips = columns.filter(isVector).length;
  const taken =
    columns.reduce((total, column) => total + (isVector(column) ? 0 : (sizes[column] ?? 0)), 0) +
    GAP[mode] * (columns.length - 1);
  const room = Math.max(60, Math.floor((width - taken) / Math.max(1, strips)));
  const key = stripFor(Math.max(1, head_size), room, ratio);
  const value = stripFor(Math.max(1, value_size), room, ratio);
  const template = columns
    .map((column) => {
      if (isVector(column)) return `${column === "v" ? value.width : key.width}px`;
      const size = sizes[column];
      // what is left over makes the bars longer
      if (column === "weight" || column === "share") return `minmax(${size}px, 1fr)`;
      return column === "token" && mode !== "wide" ? `minmax(${size}px, 1fr)` : `${size}px`;
    })
    .join(" ");
  return { mode, columns, folded, template, key, value };
}

export interface Heading {
  title: string;
  /** Second line: what it is, and its domain. */
  detail: string;
  domain: string;
}

export function heading(column: Column, scene: Scene, layout: Layout): Heading {
  const { site, domains, scoreEnd, weightEnd } = scene;
  const per = (strip: Strip) =>
    strip.perCell > 1 ? `${strip.perCell} per cell` : `${column === "v" ? site.value_size : site.head_size} numbers`;
  const part = `0 … ${weightEnd * 100} %`;
  const title = texts[column][layout.mode === "narrow" ? "short" : "title"];
  switch (column) {
    case "token":
      return { title, detail: count(scene.keys.length, "token"), domain: "" };
    case "k":
      return { title, detail: per(layout.key), domain: symmetric(domains.k) };
    case "product":
      return { title, detail: per(layout.key), domain: symmetric(domains.product) };
    case "dot":
      return { title, detail: "sum", domain: "" };
    case "score":
      return { title, detail: scoreDetail(scene), domain: symmetric(scoreEnd) };
    case "weight":
      return { title, detail: site.weights_only ? "as captured" : "softmax", domain: part };
    case "share":
      return {
        title,
        detail: site.norms === "output" ? "‖weight · v · W_O‖" : "‖weight · v‖",
        domain: part,
      };
    case "v":
      return { title, detail: per(layout.value), domain: symmetric(domains.v) };
  }
}

function scoreDetail(scene: Scene): string {
  const { site } = scene;
  const name = site.scaled_by_model ? "as scaled" : scalingName(scene.site);
  return `${name}${site.softcap !== null ? ", capped" : ""}${site.bias ? ", + bias" : ""}`;
}

/** One sentence: what is this column, with the numbers of the key under the lens. */
export function explanation(column: Column, scene: Scene): string {
  const { chain, key, keyLabels, queryLabels, query, site } = scene;
  const k = `“${isolated(keyLabels[key].text)}”`;
  const q = `“${isolated(queryLabels[query].text)}”`;
  const dot = chain.dot ? fixed(chain.dot[key], decimals(Math.abs(chain.dot[key]))) : "";
  const score = chain.biased ? fixed(chain.biased[key], 2) : "";
  const masked = isMasked(chain, key);
  switch (column) {
    case "token":
      return `Every token that ${q} can draw from; each has a key vector k, which is matched against the query, and a value vector v, which is passed on.`;
    case "k":
      return `The key vector of each token, ${site.head_size} numbers, one cell each or the largest of several neighbours: what the token offers to be matched by; ${k} offers ${vectorWords(scene.tensors.key(key))}.`;
    case "product":
      return `The query of ${q} times each key, number by number: orange cells push the score up, blue cells pull it down; for ${k} they add up to ${dot}.`;
    case "dot":
      return `The sum of the q × k cells of a row, the dot product of the two vectors: for ${k} it is ${dot}.`;
    case "score":
      return `q · k ${site.scaled_by_model ? "of vectors that the model had scaled already" : `${scalingName(scene.site)}, so that its size does not grow with the ${site.head_size} numbers that were added`}${site.softcap !== null ? `, capped softly at ±${site.softcap}` : ""}${site.bias ? ", plus the position bias" : ""}: for ${k} it is ${score}${masked ? ", but the mask forbids it" : ""}.`;
    case "weight":
      return masked
        ? `The softmax turns the scores of a row into weights that add up to 100 %; ${k} is masked, so it takes no part.`
        : `The softmax turns the scores of a row into weights that add up to 100 %: ${k} gets ${percent(chain.weights[key])} of the weight of ${q}.`;
    case "share":
      return `How much of the head's output comes from each key: the length of weight · v${site.norms === "output" ? " · W_O" : ""}, over the sum of these lengths; ${k} has ${percent(chain.weights[key])} of the weight and ${percent(chain.share[key])} of the output.`;
    case "v":
      return `The value vector of each token, ${site.value_size} numbers: what it passes on when it is attended to; the sum of all, each times its weight, is the head's output z below (${k} enters with ${percent(chain.weights[key])}).`;
  }
}

function vectorWords(vector: Float32Array): string {
  let most = 0;
  for (let d = 0; d < vector.length; d++) if (Math.abs(vector[d]) > Math.abs(vector[most])) most = d;
  return `${fixed(vector[most], 2)} at dimension ${most}, its largest`;
}
