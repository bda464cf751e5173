/** The strongest link of a head, in words. */

import { change, percentInWords } from "../base/format";
import type { Site } from "../data/metadata";
import { type Label, named } from "../scene/labels";
import type { Part } from "../scene/text";

/** `it → flies with 53 %`, its tokens as tokens. */
export function linkSaid(
  { site }: { site: Site },
  [query, key, weight]: [number, number, number],
  labels: Label[][],
): Part[] {
  const token = (table: number, index: number): Part => {
    const label = labels[table][index];
    // a word that the text has twice: which of them
    const again = labels[table].some((other) => other !== label && other.text === label.text);
    return { token: named(label), key: index, special: label.special, at: again ? index : undefined };
  };
  const said = site.thumb?.zero === undefined ? percentInWords(weight) : change(weight);
  return [token(site.query_tokens, query), " → ", token(site.key_tokens, key), ` with ${said}`];
}
