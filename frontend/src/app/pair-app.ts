/** A comparison: one frame at a time, of A, of B or of B − A, with a switch between them; what is selected goes along. */

import { button, h } from "../base/dom";
import { explained } from "../base/explained";
import { carried } from "../base/head-edit";
import { CHOICES, INITIAL, type Side, type State } from "../base/state";
import { placeOf, positionOn } from "../chain/difference";
import type { PairSource } from "../chain/pair-source";
import type { Metadata } from "../data/metadata";
import type { Source } from "../data/source";
import { mount } from "./mount";
import { pairNames, pairTexts } from "./parts/pair-texts";
import { siteOf } from "./validate-state";
import type { DockMemory, Options, Step, View } from "./view";

const NAMES: Record<Side, string> = { a: "A", b: "B", difference: "B − A" };
export async function mountPair(
  root: HTMLElement,
  source: PairSource,
  initial: Partial<State>,
  options: Options,
): Promise<View> {
  const view = new PairView(root, source, options);
  await view.open(initial.side ?? "difference", initial, options.problems ?? []);
  return view;
}

class PairView implements View {
  private view: View | null = null;
  private state: State = INITIAL;
  private readonly listeners = new Set<(state: State, step: Step) => void>();
  private readonly buttons = new Map<Side, HTMLButtonElement>();
  private readonly sides = h("div", { class: "levels sides", role: "group", "aria-label": "side of the comparison" });
  private readonly metas: [Metadata, Metadata];
  private readonly memory: DockMemory = { open: false, histories: {} };
  private readonly texts: HTMLElement;
  private turn = 0;
  private latest: Partial<State> | null = null;

  constructor(
    private readonly root: HTMLElement,
    private readonly source: PairSource,
    private readonly options: Options,
  ) {
    this.metas = [source.a.meta, source.b.meta];
    this.texts = pairTexts(this.metas, source.places);
    const [a, b] = pairNames(this.metas);
    const about: Record<Side, string> = { a: `A: ${a}`, b: `B: ${b}`, difference: "B − A: what changed" };
    for (const side of CHOICES.side) {
      const one = explained(
        button(NAMES[side], { "data-side": side }, () => this.choose(side)),
        about[side],
      );
      this.buttons.set(side, one);
      this.sides.append(one);
    }
  }

  /** Puts the frame of a side in the place of the one there was. */
  async open(side: Side, initial: Partial<State>, problems: string[]): Promise<void> {
    const turn = ++this.turn;
    const focused = this.sides.matches(":focus-within");
    this.view?.destroy();
    this.view = null;
    for (const [name, one] of this.buttons) one.setAttribute("aria-pressed", String(name === side));
    const base = this.options.base?.side === side ? this.options.base : {};
    const view = await mount(
      this.root,
      this.sourceOf(side),
      { ...initial, side },
      {
        ...this.options,
        problems,
        base: { ...base, side },
        sides: { element: this.sides, texts: this.texts, shown: side, metas: this.metas, memory: this.memory },
      },
    );
    if (turn !== this.turn) return view.destroy();
    this.view = view;
    this.state = view.get();
    view.onState((state, step) => this.tell(state, step));
    if (focused) this.buttons.get(side)?.focus({ preventScroll: true });
  }

  get(): State {
    return this.view?.get() ?? this.state;
  }

  set(change: Partial<State>, problems: string[] = []): void {
    const side = change.side ?? this.latest?.side ?? this.state.side;
    if (this.view && side === this.state.side) {
      this.view.set(change, problems);
      return;
    }
    this.move(side, { ...this.at(side), ...change }, problems, "set");
  }

  onState(listener: (state: State, step: Step) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  notice(text: string): void {
    this.view?.notice(text);
  }

  destroy(): void {
    this.turn++;
    this.listeners.clear();
    this.view?.destroy();
  }

  private choose(side: Side): void {
    if (side !== this.state.side) this.move(side, this.at(side), [], "go");
  }

  private move(side: Side, state: Partial<State>, problems: string[], step: Step): void {
    this.latest = { ...state, side };
    this.open(side, this.latest, problems).then(
      () => {
        this.latest = null;
        this.tell(this.get(), step);
      },
      (error) => this.notice(String(error?.message ?? error)),
    );
  }

  private tell(state: State, step: Step): void {
    this.state = state;
    for (const listener of this.listeners) listener(state, step);
  }

  private sourceOf(side: Side): Source {
    return side === "difference" ? this.source : this.source[side];
  }

  /** The same layer, head and selection on another side: tokens by what they stand for, the next one where that is missing. */
  private at(to: Side): Partial<State> {
    const { state, source } = this;
    const from = state.side;
    const site = siteOf(this.sourceOf(from).meta, state);
    const queries = source.places[site.query_tokens] ?? source.places[0];
    const keys = source.places[site.key_tokens] ?? source.places[0];
    const nearest = (position: number) => {
      const place = placeOf(queries, from, position);
      for (let by = 0; by < queries.a.length; by++)
        for (const one of [place + by, place - by]) {
          const found = one >= 0 && one < queries.a.length ? positionOn(queries, to, one) : null;
          if (found !== null) return found;
        }
      return 0;
    };
    const history = this.memory.histories[to === "b" ? "b" : "a"];
    const exact = (position: number) => positionOn(queries, to, placeOf(queries, from, position));
    return {
      ...state,
      query: nearest(state.query),
      key: state.key === null ? null : positionOn(keys, to, placeOf(keys, from, state.key)),
      queries: state.queries.map(exact).filter((one) => one !== null),
      // those of B are made in another text than those of A and of B − A, which has other tokens
      edits:
        (from === "b") === (to === "b") ? state.edits : carried(state.edits, history ? history.past[history.at] : []),
      filter: "all",
      sort: to === "difference" ? "change" : "layer",
      quantity: to === "difference" ? "weights" : state.quantity,
      dim: null,
      why: null,
      side: to,
    };
  }
}
