/** The help sheet: keys, levels, colours, and where the numbers come from. */

import { h } from "../../base/dom";
import type { Metadata } from "../../data/metadata";
import type { Has } from "../level-order";
import { REGISTRY } from "../level-registry";

const KEYS: [string, string][] = [
  ["← → in the text", "the query before, the one after"],
  ["arrows in a picture", "from number to number; the foot shows each one's exact value"],
  ["Enter", "pins a key; on what is selected already, one level in"],
  ["Esc", "closes what lies open, unpins, then one level out"],
  ["1 to 5", "the levels, from the whole model to the arithmetic; 0: the stream, where it is held"],
  [", and .", "where the model wrote an answer: to the query that wrote the token before, the next one"],
  ["/", "finds words in the text; Enter goes to them"],
  ["Tab", "first two links, to the text and to the picture; then text, picture, controls: each is one stop"],
  ["?", "opens and closes this sheet"],
];

const COLOURS: [string, string][] = [
  [
    "swatch-help-sign",
    "Sign: blue is negative, orange is positive, grey is zero. A notch marks a value beyond the scale.",
  ],
  ["swatch-ink", "Weight: ink, by its length first. Paler ink is the share of the output."],
  ["swatch-masked", "Masked: this query may not see this key."],
  ["swatch-broken", "NaN or infinite, as the model computed it."],
  ["swatch-selected", "Selection: a frame. The query is boxed, the key ringed."],
];

function rows(entries: [Node | string, string][]): HTMLElement {
  return h("dl", { class: "help-list" }, ...entries.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
}

/** `missing`: what levels this data lacks, in sentences. */
export function help(meta: Metadata, has: Has, missing: string[]): HTMLElement[] {
  const title = (text: string) => h("h3", {}, text);
  const { implementation, dtype, name } = meta.model;
  const levels = REGISTRY.filter(({ name }) => has(name)).map(({ group, title, help }): [string, string] => [
    group === title ? title : `${group}, ${title}`,
    help,
  ]);
  return [
    h("h2", {}, "Help"),
    title("Keys"),
    rows(KEYS),
    title("Levels"),
    h("p", {}, "One head of attention, seen nearer and nearer. Layer, head, query and key stay as they are chosen."),
    rows(levels),
    ...missing.map((text) => h("p", {}, text)),
    title("Colours"),
    rows(COLOURS.map(([mark, text]) => [h("i", { class: mark, "aria-hidden": "true" }), text])),
    title("Where the numbers come from"),
    h(
      "p",
      {},
      `Query, key and value vectors were recorded while ${name || "the model"} read this text (${implementation || "its own code"}${dtype ? `, ${dtype}` : ""}). ` +
        "This page multiplies them again, and the receipt in the foot shows how far its result is from what the model itself returned. " +
        "Layers, heads, positions and dimensions count from 0. Nothing is fetched and nothing is sent.",
    ),
  ];
}
