/** What every head does with one query and one key: the weight, and what it writes of that. */

import { chainOf } from "../../chain/chain";
import type { HeadTensors } from "../../data/head-tensors";
import type { Source } from "../../data/source";
import { pair as texts } from "../../generated/words.json";
import { groupsOf } from "../../scene/groups";
import type { Scene } from "../../scene/scene";
import type { Head } from "./heads";

export type PairName = keyof typeof texts;
export const isPairName = (name: string): name is PairName => Object.hasOwn(texts, name);

/** Numbers that are read while one waits; of larger traces only what the page brought along. */
const AT_ONCE = 40_000_000;

export class PairNumbers {
  private readonly known = new Map<string, number | null>();

  constructor(
    private readonly source: Source,
    private readonly scene: Scene,
    private readonly heads: Head[],
  ) {}

  /** Changes with the pair. */
  get name(): string {
    const { site, query, key, state } = this.scene;
    return `${site.index} ${query} ${key} ${state.group}`;
  }

  /** How many heads have a number. */
  count(name: PairName): number {
    return this.heads.filter((head) => this.value(head, name) !== null).length;
  }

  value(head: Head, name: PairName): number | null {
    if (name === "group" && this.scene.state.group === null) return null;
    const id = `${head.site.index}.${head.head} ${name}`;
    let value = this.known.get(id);
    if (value === undefined) {
      value = this.brought(head, name) ?? this.computed(head, name);
      this.known.set(id, value !== null && Number.isFinite(value) ? value : null);
    }
    return this.known.get(id) ?? null;
  }

  /** The same tokens on both sides, and the query among them. */
  private fits({ site }: Head): boolean {
    const here = this.scene.site;
    const row = this.scene.query - (site.query_offset ?? 0);
    const same = site.query_tokens === here.query_tokens && site.key_tokens === here.key_tokens;
    return same && row >= 0 && row < site.queries && this.scene.key < site.keys;
  }

  /** Of the query that the view opened on, the page holds the numbers of every head. */
  private brought(head: Head, name: PairName): number | null {
    const { row, keys } = head.site;
    if (!row || row.query !== this.scene.query || !this.fits(head)) return null;
    const at = (tensor: string | null, index: number) =>
      tensor === null ? null : (this.source.floats?.(tensor)?.[index] ?? null);
    if (name === "group") {
      const weights = row.weights === null ? null : this.source.floats?.(row.weights);
      return weights ? this.ofGroup(weights, head.head * keys) : null;
    }
    const cell = head.head * keys + this.scene.key;
    if (name === "pair") return at(row.weights, cell);
    const [share, write] = [at(row.shares, cell), at(row.writes, head.head)];
    return share === null || write === null ? null : share * write;
  }

  /** The weight of the group that is looked at, in weights of which the keys begin at `first`. */
  private ofGroup(weights: ArrayLike<number>, first: number): number | null {
    const { state, aside, site } = this.scene;
    if (state.group === null) return null;
    const { start, stop } = groupsOf(this.scene)[state.group];
    let sum = 0;
    for (let j = start; j < Math.min(stop, site.keys); j++) if (!aside.keys[j]) sum += weights[first + j];
    return sum;
  }

  private computed(head: Head, name: PairName): number | null {
    const { source, scene, heads } = this;
    const { site } = head;
    if (scene.pair || !this.fits(head) || !source.holds(site.index, head.head)) return null;
    if (heads.length * site.keys * Math.max(1, site.head_size + site.value_size) > AT_ONCE) return null;
    let tensors: HeadTensors | Promise<HeadTensors>;
    try {
      tensors = source.head(site.index, head.head);
    } catch {
      return null; // damaged: reported where the head is opened
    }
    if (tensors instanceof Promise) {
      tensors.catch(() => {});
      return null;
    }
    const { weights, share, write } = chainOf(tensors, scene.query - (site.query_offset ?? 0));
    if (name === "group") return this.ofGroup(weights, 0);
    if (name === "pair") return weights[scene.key];
    return write === null ? null : share[scene.key] * write;
  }
}
