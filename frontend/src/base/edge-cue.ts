/** Something that scrolls shows where there is more: it fades towards that side. */

import { setAttribute } from "./dom";

const SLACK = 1; // pixels: sizes are rounded

/** `data-more` on the element names the sides beyond which there is more; app/style.css draws it. */
export class EdgeCue {
  private frame = 0;
  private readonly sizes = new ResizeObserver(() => this.look());

  constructor(private readonly element: HTMLElement) {
    element.dataset.cue = "";
    element.addEventListener("scroll", () => this.look(), { passive: true });
    this.sizes.observe(element);
  }

  /** What is in it has changed. With the next frame: to ask for sizes lays the page out. */
  look(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.lookNow();
    });
  }

  lookNow(): void {
    const { scrollLeft, scrollTop, clientWidth, clientHeight, scrollWidth, scrollHeight } = this.element;
    const more = [
      scrollLeft > SLACK && "left",
      scrollLeft + clientWidth < scrollWidth - SLACK && "right",
      scrollTop > SLACK && "above",
      scrollTop + clientHeight < scrollHeight - SLACK && "below",
    ].filter(Boolean);
    setAttribute(this.element, "data-more", more.length ? more.join(" ") : null);
  }

  destroy(): void {
    cancelAnimationFrame(this.frame);
    this.sizes.disconnect();
  }
}
