/** From one state to the next: what does not fit is reported, what is not here is waited for. */

import { whenIdle } from "../base/dom";
import { INITIAL, type State } from "../base/state";
import type { HeadTensors } from "../data/head-tensors";
import type { Site } from "../data/metadata";
import type { Source } from "../data/source";
import { absent, fitted, nearestHeld, siteName, siteOf } from "./validate-state";
import type { Step } from "./view";

export interface NavigationHost {
  /** The nearest state that this view has a level and a side for. */
  shown(wanted: State, problems: string[]): State;
  /** Another state, whose tensors are here. */
  arrived(before: State, problems: string[], step: Step): void;
  /** The state stays what it is, and why. */
  stayed(problems: string[]): void;
  /** The state stays for now: the host was asked. */
  waits(text: string): void;
}

const PLACE = ["stack", "layer", "head"] as const;

export class Navigation {
  state: State = INITIAL;
  tensors: HeadTensors | null = null;
  private asked = 0;
  /** The place that was asked for and is not here yet. */
  private awaited: { state: State; step: Step } | null = null;
  private cancelPrefetch = () => {};

  constructor(
    private readonly source: Source,
    private readonly host: NavigationHost,
  ) {}

  /** The first place, or the nearest that can be read; `problems` gets what is wrong with the one that was wanted. */
  async start(initial: Partial<State>, base: Partial<State>, problems: string[]): Promise<void> {
    const { source } = this;
    const before = fitted(source.meta, { ...INITIAL, ...base }, INITIAL, []);
    let state = this.host.shown(fitted(source.meta, { ...INITIAL, ...initial }, before, problems), problems);
    if (!source.live) state = nearestHeld(source, state, problems);
    for (;;) {
      try {
        this.tensors = await source.head(siteOf(source.meta, state).index, state.head);
        break;
      } catch (error) {
        // what is damaged is no longer held: show what is left, and report what is wrong
        const next = source.live ? state : nearestHeld(source, state, []);
        if (PLACE.every((name) => next[name] === state[name])) throw error;
        problems.push(`Layer ${siteName(siteOf(source.meta, state), source.meta)}: ${messageOf(error)}`);
        state = next;
      }
    }
    this.state = state;
  }

  /** Takes what fits, reports what does not; waits for data where it must, and keeps what it has until then. */
  change(change: Partial<State>, step: Step, given: string[] = []): void {
    const { source, awaited, tensors: here, host } = this;
    const problems = [...given];
    const changed = (from: State, problems: string[]) =>
      host.shown(fitted(source.meta, { ...from, ...change }, from, problems), problems);
    if (awaited && here && !PLACE.some((name) => name in change && change[name] !== awaited.state[name])) {
      // not where to look, but how: here at once, and there when it comes
      awaited.state = changed(awaited.state, []);
      this.arrive(changed(this.state, problems), here, problems, step);
      return;
    }
    // a place is reached from the one that is waited for, if one is
    const next = changed(awaited?.state ?? this.state, problems);
    const site = siteOf(source.meta, next);
    if (!source.live && !source.holds(site.index, next.head) && !source.pictured?.(site.index, next.head)) {
      host.stayed([...problems, absent(source, site, next.head)]);
      return;
    }
    this.awaited = null;
    this.fetch(next, site, problems, awaited?.step === "go" ? "go" : step);
  }

  private fetch(next: State, site: Site, problems: string[], step: Step): void {
    const { source, host } = this;
    const token = ++this.asked;
    const place = `layer ${siteName(site, source.meta)}, head ${next.head}`;
    const lost = (error: unknown) => {
      if (token !== this.asked) return;
      this.awaited = null;
      host.stayed([...problems, `${place[0].toUpperCase()}${place.slice(1)}: ${messageOf(error)}`]);
    };
    try {
      const tensors = source.head(site.index, next.head);
      if (!(tensors instanceof Promise)) {
        this.arrive(next, tensors, problems, step);
        return;
      }
      this.awaited = { state: next, step };
      const waiting =
        source.live && setTimeout(() => host.waits(`Asking the ${source.who ?? "kernel"} for ${place} …`), 150);
      tensors
        .finally(() => waiting && clearTimeout(waiting))
        .then((ready) => {
          if (token !== this.asked || !this.awaited) return;
          const { state } = this.awaited;
          this.awaited = null;
          this.arrive(state, ready, problems, step);
        })
        .catch(lost);
    } catch (error) {
      lost(error);
    }
  }

  private arrive(state: State, tensors: HeadTensors, problems: string[], step: Step): void {
    const before = this.state;
    this.state = state;
    this.tensors = tensors;
    this.host.arrived(before, problems, step);
  }

  /** Other layers of this head are likely next: unpack them in idle time, the nearest first. */
  prefetch(site: Site): void {
    this.cancelPrefetch();
    if (this.source.live) return;
    const { head } = this.state;
    const near = this.source.meta.sites
      .filter((one) => one.stack === site.stack && one !== site && this.source.holds(one.index, head))
      .sort((a, b) => Math.abs(a.layer - site.layer) - Math.abs(b.layer - site.layer));
    const next = () => {
      const one = near.shift();
      if (!one) return;
      this.cancelPrefetch = whenIdle(() => {
        // a damaged block is reported when the reader asks for it
        Promise.resolve(this.source.head(one.index, head)).then(next, () => {});
      });
    };
    next();
  }

  destroy(): void {
    this.asked++;
    this.cancelPrefetch();
  }
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
