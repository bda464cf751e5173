/** The walk from x to the prediction: play, pause, and a step forth or back. It jumps where the reader wants less motion. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { still } from "../../base/motion";

const PAUSE = 1800; // ms at a step

export class Walk {
  readonly element: HTMLElement;
  private readonly playing: HTMLButtonElement;
  private timer = 0;
  private at = -1;

  /** `stops`: the steps that are shown now. `say`: tells which was reached. */
  constructor(
    private readonly stops: () => HTMLElement[],
    private readonly say: (text: string) => void,
  ) {
    this.playing = button("play", { class: "tool", "data-walk": "play", "aria-pressed": "false" }, () =>
      this.timer ? this.pause() : this.play(),
    );
    const step = (text: string, by: number, label: string) =>
      button(text, { class: "tool", "data-walk": label, "aria-label": `${label} step` }, () => {
        this.pause();
        this.go(by);
      });
    this.element = h("span", { class: "walk" }, step("‹", -1, "previous"), this.playing, step("›", 1, "next"));
  }

  pause(): void {
    clearInterval(this.timer);
    this.timer = 0;
    this.tell();
  }

  /** Nothing is marked any more. */
  leave(): void {
    this.pause();
    this.at = -1;
    for (const stop of this.stops()) delete stop.dataset.walked;
  }

  private play(): void {
    if (this.at >= this.stops().length - 1) this.at = -1;
    this.timer = window.setInterval(() => this.go(1), PAUSE);
    this.tell();
    this.go(1);
  }

  private go(by: number): void {
    const stops = this.stops();
    this.at = Math.max(0, Math.min(stops.length - 1, this.at + by));
    const stop = stops[this.at];
    if (!stop) return;
    for (const one of stops) delete one.dataset.walked;
    stop.dataset.walked = "";
    stop.scrollIntoView({ block: "nearest", behavior: still() ? "auto" : "smooth" });
    this.say([...(stop.querySelector(".step-title")?.children ?? [])].map((one) => one.textContent).join(" "));
    if (this.at === stops.length - 1) this.pause();
  }

  private tell(): void {
    setText(this.playing, this.timer ? "pause" : "play");
    setAttribute(this.playing, "aria-pressed", String(this.timer !== 0));
  }
}
