/** The numbers of the heads: those that the payload has of each, and those of the pair that is shown. */

import { fixed, percent } from "../../base/format";
import type { Metadata, Role } from "../../data/metadata";
import { plain, pair as texts } from "../../generated/words.json";
import type { Head } from "./heads";
import { isPairName, type PairName, type PairNumbers } from "./pair-numbers";

const PAIR = Object.keys(texts) as PairName[];

/** A badge in words. */
export const badgeSaid = ({ name, kind }: Role): string => (kind ? name : `role ${name}`);

export class Statistics {
  private readonly own: string[];
  private readonly sorted = new Map<string, number[]>();
  private pair: { numbers: PairNumbers; said: string; group: string } | null = null;

  constructor(
    private readonly meta: Metadata,
    readonly heads: Head[],
  ) {
    this.own = Object.keys(meta.stat_words ?? {});
  }

  /** Changes with the pair and with the group that is looked at. */
  get pairName(): string {
    return this.pair?.numbers.name ?? "";
  }

  /** The query and the key that are shown; `said`, `group`: "it → flies". */
  setPair(numbers: PairNumbers, said: string, group = ""): void {
    if (this.pair?.numbers.name === numbers.name) return;
    this.pair = { numbers, said, group };
    for (const name of PAIR) this.sorted.delete(name);
  }

  get names(): string[] {
    const { pair } = this;
    return pair ? [...this.own, ...PAIR.filter((name) => pair.numbers.count(name) > 0)] : this.own;
  }

  /** Where most of a head's weight plainly goes; empty where it does not. */
  plainName(head: Head): string {
    return plain.names.find(([, name]) => (this.value(head, name) ?? 0) >= plain.clear)?.[0] ?? "";
  }

  /** What the evidence says that a head does, the best first, sinks last. */
  roles({ site, head }: Head): Role[] {
    return site.roles?.[head] ?? [];
  }

  /** What it finds. Most heads rest on a sink: that stands beside the head enlarged alone. */
  finds(head: Head): Role[] {
    return this.roles(head).filter(({ rests }) => !rests);
  }

  /** Whether some head has a badge of this kind. */
  any(kind: "role" | "effect"): boolean {
    return this.heads.some((head) => this.roles(head).some((one) => (one.kind ?? "role") === kind));
  }

  has(name: string): boolean {
    return this.names.includes(name);
  }

  title(name: string): string {
    if (isPairName(name)) return texts[name].title;
    return this.meta.stat_titles?.[name] ?? name;
  }

  /** Without its place in a list of weights: "weight on itself". */
  full(name: string): string {
    if (isPairName(name))
      return this.pair
        ? `${texts[name].title.split(" ")[0]} of ${name === "group" ? this.pair.group : this.pair.said}`
        : this.title(name);
    const title = this.title(name);
    return /^(on|after) /.test(title) ? `weight ${title}` : title;
  }

  words(name: string): string {
    if (isPairName(name)) return texts[name].words;
    return this.meta.stat_words?.[name] ?? "";
  }

  value(one: Head, name: string): number | null {
    if (isPairName(name)) return this.pair?.numbers.value(one, name) ?? null;
    const { site, head } = one;
    const value = site.stats?.[name]?.[head];
    return typeof value === "number" ? value : null;
  }

  said(head: Head, name: string): string {
    const value = this.value(head, name);
    return value === null ? "–" : this.written(value, name);
  }

  written(value: number, name: string): string {
    const unit = isPairName(name) ? texts[name].unit : (this.meta.stat_units?.[name] ?? "");
    if (unit === "part") return percent(value);
    return `${fixed(value, unit === "tokens" || unit === "patches" ? 1 : 2)}${unit ? ` ${unit}` : ""}`;
  }

  /** How many heads have a larger number, plus one; null without a number. */
  rank(head: Head, name: string): { rank: number; of: number } | null {
    const value = this.value(head, name);
    if (value === null) return null;
    let all = this.sorted.get(name);
    if (!all) {
      all = this.heads.map((one) => this.value(one, name)).filter((one) => one !== null);
      this.sorted.set(
        name,
        all.sort((a, b) => b - a),
      );
    }
    return { rank: 1 + all.findIndex((one) => one <= value), of: all.length };
  }

  /** Largest first; equal ones by stack, layer and head; heads without a number last. */
  ordered(name: string): Head[] {
    const key = (head: Head) => this.value(head, name) ?? Number.NEGATIVE_INFINITY;
    return this.has(name) ? [...this.heads].sort((a, b) => key(b) - key(a) || 0) : this.heads;
  }
}
