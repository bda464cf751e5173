/** What the heads do, taken together, in one sentence made of their statistics. */

import { count, percentInWords } from "../../base/format";
import { linkSaid } from "../../heads/link-sentence";
import type { Label } from "../../scene/labels";
import type { Part } from "../../scene/text";
import { type Head, nameOf } from "./heads";
import type { Statistics } from "./statistics";

const POSITIONS: [string, string][] = [
  ["previous", "the previous token"],
  ["next", "the next token"],
  ["itself", "itself"],
];
const MUCH = 0.5;

export function finding(statistics: Statistics, sort: string, labels: Label[][]): Part[] {
  const { heads } = statistics;
  if (!statistics.names.length) return [`${count(heads.length, "head")}, of which this data holds no statistics.`];
  return statistics.has(sort) ? ofOrder(statistics, sort) : [...ofMass(statistics), ...ofBest(statistics, labels)];
}

function ofOrder(statistics: Statistics, sort: string): Part[] {
  const ordered = statistics.ordered(sort).filter((head) => statistics.value(head, sort) !== null);
  const said = (head: Head) => `${nameOf(head)} (${statistics.said(head, sort)})`;
  const title = statistics.full(sort);
  if (ordered.length < 2) return [`The only head here, ${said(ordered[0])}: ${title}.`];
  const middle = ordered[(ordered.length - 1) >> 1];
  return [
    `By ${title}, ${count(ordered.length, "head")} ${ordered.length === heads(statistics) ? "go" : `of ${heads(statistics)} go`} from ${said(ordered[0])} down to ${said(ordered.at(-1) as Head)}; half of them are at or above ${statistics.said(middle, sort)}.`,
  ];
}

const heads = (statistics: Statistics) => statistics.heads.length;

/** How many heads put most of their weight where little is to be read. */
function ofMass(statistics: Statistics): Part[] {
  const name = statistics.has("special") ? "special" : "first";
  const where = name === "special" ? "special tokens" : "the first token";
  const values = statistics.heads.map((head) => statistics.value(head, name)).filter((value) => value !== null);
  const many = values.filter((value) => value > MUCH).length;
  const total = count(statistics.heads.length, "head");
  if (statistics.heads.length === 1)
    return values.length
      ? [`The one head puts ${percentInWords(values[0])} of its weight on ${where}`]
      : ["There is one head"];
  if (!values.length) return [`Of ${total}`];
  const who = many === 0 ? "none puts" : many === 1 ? "one puts" : `${many} put`;
  return [`Of ${total}, ${who} more than half of ${many > 1 ? "their" : "its"} weight on ${where}`];
}

/** The head that is most plainly of one kind: by position, else by one link. */
function ofBest(statistics: Statistics, labels: Label[][]): Part[] {
  let best: { head: Head; where: string; value: number } | null = null;
  for (const [name, where] of POSITIONS)
    for (const head of statistics.heads) {
      const value = statistics.value(head, name) ?? 0;
      if (value > (best?.value ?? MUCH)) best = { head, where, value };
    }
  if (best)
    return [
      `; on average ${nameOf(best.head)} looks at ${best.where} with ${percentInWords(best.value)} of its weight.`,
    ];
  const weight = ({ site, head }: Head) => site.links?.[head]?.[2] ?? 0;
  const head = statistics.heads.reduce((most, one) => (weight(one) > weight(most) ? one : most));
  const link = head.site.links?.[head.head];
  if (!link) return ["."];
  return ["; the strongest link is ", ...linkSaid(head, link, labels), `, in ${nameOf(head)}.`];
}
