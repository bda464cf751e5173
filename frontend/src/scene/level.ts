/** What a level is: the frame asks it to draw, it asks the frame for changes. */

import type { LevelName, State } from "../base/state";
import type { Source } from "../data/source";
import type { Scene } from "./scene";
import type { Part } from "./text";

export interface HeadName {
  stack: string | null;
  layer: number;
  head: number;
}

/** A head's thumbnail. */
export interface HeadPlace extends HeadName {
  x: number;
  y: number;
}

/** Edits of heads at the model level, in a view that has a model to ask. */
export interface HeadEdits {
  /** Lies over the thumbnails: marks, and a switch on the one that is looked at. */
  readonly element: HTMLElement;
  /** Switches the head off or on that is shown enlarged. */
  readonly button: HTMLElement;
  lay(places: HeadPlace[], size: number): void;
  look(place: HeadPlace | null): void;
  shows(head: HeadName): void;
  toggle(head: HeadName): void;
  /** What a screen reader hears behind the head's name. */
  said(head: HeadName): string;
}

/** What a level may ask of the frame. */
export interface Actions {
  /** Heads can be edited: there is a model to ask what comes of it. */
  readonly edits?: HeadEdits;
  /** Something of what is on screen; the address is rewritten. */
  set(change: Partial<State>): void;
  /** To another level or place: a step that one can go back from. */
  go(change: Partial<State>): void;
  /** Shows a number, in words, in the readout. */
  say(text: string): void;
  /** Shows that something is wrong or missing, until the reader dismisses it; the same text once. */
  notice(text: string): void;
}

/** A scale or a mark, as the foot explains it. */
export interface Legend {
  /** A mark that all levels share ("sign" is the diverging ramp, "ink" the weight), or one of the level's own. */
  swatch: "sign" | "ink" | "masked" | "notch" | "broken" | HTMLElement;
  /** Quantities and their domains: `["weight", "0 … 60 %"]`. */
  said: [quantity: string, domain: string][];
}

/** A level as it is seen, for paper: an SVG that needs nothing beside itself, its size in CSS pixels. */
export interface Picture {
  svg: string;
  width: number;
  height: number;
}

export interface Level {
  readonly name: LevelName;
  /** Carries `data-level`; hidden by the frame while another level is shown. */
  readonly element: HTMLElement;
  /** Controls of its own, shown beside the switch only while the level is shown; sentence pair, special tokens, words and theme are the frame's. */
  readonly tools: HTMLElement[];
  /** The keys that work here, for the foot: "↑ ↓ ← → move · Enter pins". The frame adds Enter and Esc. */
  readonly keys?: string;
  /** Only while shown; cheap when only the query changed. */
  draw(scene: Scene): void;
  /** The one sentence at this level; null: the one of the query. */
  sentence?(scene: Scene): Part[] | null;
  /** What the foot shows of scales; without it, those of the query. */
  legends?(scene: Scene): Legend[];
  /** Something scrolled or was laid out: fit to what is in sight. */
  look(): void;
  /**
   * The level has opened and is laid out: show what it was opened for within its own lists. When a page opens, the frame
   * stays on its sentence and its text; only who comes back to a level may find it scrolled.
   */
  arrive(within: Element): void;
  /** Another level is shown: whatever it still computes stops, and goes on with the next `draw`. */
  leave?(): void;
  /** Closes what the reader opened on top of it; false when nothing was open. */
  close(): boolean;
  /** For the page's save button; null: nothing to draw just now. */
  picture?(): Promise<Picture | null> | Picture | null;
  destroy(): void;
}

/** How a level is made, when it is first shown. `viewport`: top and bottom of what is in sight. */
export type MakeLevel = (actions: Actions, viewport: () => { top: number; bottom: number }, source: Source) => Level;

/** A level in the registry. A new one is a folder of `levels/` and a line in `app/level-registry.ts`. */
export interface LevelEntry {
  readonly name: LevelName;
  /** Enter goes to the next number, Escape to the one before. */
  readonly order: number;
  /** Its button on the switch; levels that share one are drawings of the same thing, and `title` tells them apart. */
  readonly group: string;
  readonly title: string;
  /** What it shows, in a few words; and for the help sheet, in a sentence. */
  readonly about: string;
  readonly help: string;
  readonly css: string;
  readonly make: MakeLevel;
  /** Why the data has no such level, and how to get it; null where it has. Without it, all data has. */
  readonly missing?: (source: Source) => string | null;
  /** Of a comparison, where its numbers need more than the one number of `make`. */
  readonly makePair?: MakeLevel;
}
