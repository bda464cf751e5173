/** What a host gives to a view and gets from it. */

import type { Side, State } from "../base/state";
import type { AskEdits } from "../data/edits";
import type { Metadata } from "../data/metadata";
import type { EditLines } from "../scene/as-python";
import type { HeadEdits } from "../scene/level";
import type { Scene } from "../scene/scene";

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

/** What edits heads while one looks; only views with a model have it. */
export interface Dock {
  readonly css: string;
  readonly element: HTMLElement;
  /** The button that opens it, among the page's tools. */
  readonly opener: HTMLButtonElement;
  readonly heads: HeadEdits;
  /** For "copy as Python". */
  readonly editLines: EditLines;
  draw(scene: Scene): void;
  destroy(): void;
}

/** The edits that there were, and which of them are on. */
export interface EditHistory {
  past: string[][];
  at: number;
}

/** What a dock keeps while a comparison shows another side: each text has a history of its own, that of A with B − A. */
export interface DockMemory {
  open: boolean;
  histories: { a?: EditHistory; b?: EditHistory };
}

export interface DockHost {
  ask: AskEdits;
  /** Of a comparison: which side is shown. */
  side: Side | null;
  memory: DockMemory;
  set(change: Partial<State>): void;
}

export type MakeDock = (host: DockHost) => Dock;

/** Where a live view finds it: entries/edits.ts, a bundle of its own. */
export type Live = typeof globalThis & { attnscopeEdits?: MakeDock };

export interface Options {
  /** "page" fills the window; "cell" grows with its content up to a height. */
  fit: "page" | "cell";
  /** What was wrong with the initial state. */
  problems?: string[];
  /** What is shown where the initial state asks for what does not exist. */
  base?: Partial<State>;
  /** Of a comparison: the switch between its sides, both texts, which of them this is, what both are, what the dock keeps. */
  sides?: { element: HTMLElement; texts: HTMLElement; shown: Side; metas: [Metadata, Metadata]; memory: DockMemory };
  /** Makes what edits heads. */
  dock?: MakeDock;
  /** The page is this view alone: keys pressed outside of it are meant for it. */
  alone?: boolean;
}
