/** What a host gives to a view and gets from it. */

import type { Side, State } from "../base/state";
import type { Metadata } from "../data/metadata";

/** How a change came about: by going somewhere, from where one can go back, or by changing what is on screen. */
export type Step = "go" | "set";

export interface View {
  get(): State;
  /** `problems`: what was wrong with the change already; the view reports it together with what else is. */
  set(change: Partial<State>, problems?: string[]): void;
  onState(listener: (state: State, step: Step) => void): () => void;
  /** Reports in the view itself that something is wrong, until the reader dismisses it. */
  notice(text: string): void;
  destroy(): void;
}

export interface Options {
  /** "page" fills the window; "cell" grows with its content up to a height. */
  fit: "page" | "cell";
  /** What was wrong with the initial state. */
  problems?: string[];
  /** What is shown where the initial state asks for what does not exist. */
  base?: Partial<State>;
  /** Of a comparison: the switch between its sides, both texts, which of them this is, and what both are. */
  sides?: { element: HTMLElement; texts: HTMLElement; shown: Side; metas: [Metadata, Metadata] };
  /** The page is this view alone: keys pressed outside of it are meant for it. */
  alone?: boolean;
}
