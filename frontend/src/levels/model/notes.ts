/** What the model level says of its picture, and of a head under keyboard or pointer. */

import { plain, roles } from "../../generated/words.json";
import { linkSaid } from "../../heads/link-sentence";
import type { Label } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { asText } from "../../scene/text";
import { type Head, nameOf, type PixelRange, sampleSaid } from "./heads";
import { badgeSaid, type Statistics } from "./statistics";

/** What a reader should know of what is shown. */
export function notesOf({ state }: Scene, statistics: Statistics, { sampled }: PixelRange): string[] {
  const said: string[] = [];
  if (statistics.heads.some((head) => statistics.plainName(head))) said.push(plain.said);
  if (statistics.any("role")) said.push(roles.said);
  if (statistics.any("effect")) said.push(roles.effects);
  if (statistics.has(state.sort)) said.push(`${statistics.words(state.sort)}`);
  else if (state.sort !== "layer")
    said.push(`There is no statistic “${state.sort}” here, so the heads stand by layer.`);
  const cut = statistics.heads.some(({ site: { thumb } }) => thumb?.keys !== undefined);
  if (cut) said.push("Thumbnails and statistics are of the sound; the silence behind it asks nothing and is cut off.");
  if (sampled) said.push(sampleSaid(sampled));
  const set = [
    state.filter !== "all" && "The sentence-pair filter",
    state.special === "hide" && !cut && "hiding special tokens",
    state.words && "whole words",
  ].filter((one) => one !== false);
  if (set.length) {
    const text = set.join(" and ");
    said.push(
      `${text[0].toUpperCase()}${text.slice(1)} ${set.length > 1 ? "do" : "does"} not change thumbnails and statistics: they are of the whole text.`,
    );
  }
  return said;
}

/** One head in a line. `order`: the statistic by which the heads stand; `signed`: its weights are differences. */
export function headSaid(
  head: Head,
  statistics: Statistics,
  order: string,
  labels: Label[][],
  signed: boolean,
): string {
  const known = (names: string[]) =>
    names
      .filter((name) => statistics.value(head, name) !== null)
      .map((name) => `${statistics.full(name)} ${statistics.said(head, name)}`);
  const link = head.site.links?.[head.head];
  const others = [statistics.has("special") ? "special" : "first", "previous", "entropy"];
  const said = [
    ...known([order]),
    ...(link ? [`${signed ? "changed most:" : "strongest link"} ${asText(linkSaid(head, link, labels))}`] : []),
    ...known(others.filter((name) => name !== order)),
  ];
  const names = [...statistics.roles(head).map(badgeSaid), statistics.plainName(head)];
  return [nameOf(head), ...names.filter(Boolean), ...said].join(" · ");
}
