/** Where things are on the screen: what is in sight, and how tall the parts are that stay there. */

import { setAttribute } from "../base/dom";

export interface LayoutParts {
  /** What scrolls; the bar above and the foot below stay in sight. */
  scope: HTMLElement;
  masthead: HTMLElement;
  foot: HTMLElement;
  /** What stands above the foot, and stays there. */
  dock?: HTMLElement;
  /** The first line of the foot. */
  readout: HTMLElement;
  /** Those that need to know how tall the others are. */
  between: HTMLElement[];
}

export interface Looking {
  /** Fit to what is in sight. */
  look(): void;
  /** Put the keyboard into the level that is shown. */
  focus(): void;
  /** The level has opened and is laid out. */
  arrive(scope: HTMLElement): void;
}

const LOW = 620; // pixels: nothing but the view itself stays in a lower window
const SNUG = 760; // pixels: less air in a lower window
const SLIM = 560; // pixels: nor in a slimmer one
const READOUT_EDGE = 8; // pixels above and below it
const READOUT = 30; // pixels of the foot that stay there: a line of the readout; all of it below a dock

export class Layout {
  private frame = 0;
  private arriving = true;
  private refocus = false;
  private heights = "";
  private readonly cleanup: (() => void)[] = [];

  constructor(
    private readonly parts: LayoutParts,
    private readonly looking: Looking,
  ) {}

  listen(): void {
    const { scope, masthead, foot, dock } = this.parts;
    const look = () => this.look();
    const sizes = new ResizeObserver(() => this.measure());
    for (const element of [masthead, foot, scope, ...(dock ? [dock] : [])]) sizes.observe(element);
    addEventListener("scroll", look, { capture: true, passive: true });
    addEventListener("resize", look, { passive: true });
    scope.addEventListener("scroll", look, { passive: true });
    this.cleanup.push(
      () => sizes.disconnect(),
      () => removeEventListener("scroll", look, { capture: true }),
      () => removeEventListener("resize", look),
      () => cancelAnimationFrame(this.frame),
    );
  }

  /** Another level is shown now; `refocus`: the keyboard was in the one before. */
  opened(refocus: boolean): void {
    this.arriving = true;
    this.refocus = refocus;
  }

  /** With the next frame, when everything is laid out: what needs to know where things are. */
  look(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.lookNow();
      if (this.refocus) this.looking.focus();
      this.refocus = false;
      if (!this.arriving) return;
      this.arriving = false;
      // a frame later all sizes are measured, and sticky parts stand where they will stay
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        if (!this.parts.scope.hasAttribute("data-low")) this.looking.arrive(this.parts.scope);
      });
    });
  }

  lookNow(): void {
    if (this.parts.scope.clientWidth === 0) return; // a frame that has no size yet: it is measured when it gets one
    this.looking.look();
  }

  /** Sticky parts stand below and above each other: each needs to know how tall the others are. */
  measure(): void {
    const { scope, between, ...sticky } = this.parts;
    const masthead = sticky.masthead.offsetHeight;
    const foot = sticky.foot.offsetHeight;
    const height = this.height();
    const slim = scope.clientWidth <= SLIM;
    const readout = sticky.readout.offsetHeight + READOUT_EDGE;
    const dock = sticky.dock?.offsetHeight ?? 0;
    const heights = `${masthead},${foot},${readout},${height},${slim},${dock}`;
    if (heights === this.heights) return;
    this.heights = heights;
    setAttribute(scope, "data-low", height < LOW ? "" : null);
    setAttribute(scope, "data-snug", height < SNUG ? "" : null);
    setAttribute(scope, "data-slim", slim ? "" : null);
    const yields = height < LOW || slim;
    const below = yields ? Math.min(dock ? readout : READOUT, foot) : foot;
    for (const { style } of [...between, sticky.foot, ...(sticky.dock ? [sticky.dock] : [])]) {
      style.setProperty("--sight", `${height}px`);
      style.setProperty("--foot", `${below + (height < LOW ? 0 : dock)}px`);
      style.setProperty("--bar", `${yields ? 0 : masthead}px`);
    }
    sticky.dock?.style.setProperty("--foot", `${below}px`);
    sticky.foot.style.setProperty("--below", `${yields ? Math.max(0, foot - readout) : 0}px`);
    this.look();
  }

  /** Of the frame when it is full: a cell grows with what is in it up to its greatest height. */
  private height(): number {
    const { scope } = this.parts;
    const most = Number.parseFloat(getComputedStyle(scope).maxHeight);
    return Math.min(Number.isFinite(most) ? most : scope.clientHeight || innerHeight, innerHeight);
  }

  /** Top and bottom of what is in sight. */
  viewport(): { top: number; bottom: number } {
    const { top, bottom } = this.parts.scope.getBoundingClientRect();
    return { top: Math.max(0, top), bottom: Math.min(innerHeight, bottom) };
  }

  destroy(): void {
    for (const undo of this.cleanup) undo();
  }
}
