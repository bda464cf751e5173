/** One line for a new reader; each part disappears once the reader has done it. */
import { AfterFrame, h, setText } from "../../base/dom";

const PARTS = { word: "click a word", number: "click a number", out: "Esc goes out" };
export type Deed = keyof typeof PARTS;
const NAME = "attnscope.done";

/** A frame in a sandbox has no storage: there the line comes back with each page. */
function remembered(): string[] {
  try {
    return (localStorage.getItem(NAME) ?? "").split(",");
  } catch {
    return [];
  }
}

export class Hint {
  readonly element = h("span", { class: "hint", "data-hint": true });
  private readonly done = new Set<string>();

  /** The storage is asked after the first frame: that takes some milliseconds. Until then the line keeps its place, unseen. */
  constructor() {
    this.draw();
    this.element.style.visibility = "hidden";
    new AfterFrame().run(() => {
      this.recall();
      this.draw();
      this.element.style.visibility = "";
    });
  }

  did(deed: Deed): void {
    this.recall();
    if (this.done.has(deed)) return;
    this.done.add(deed);
    try {
      localStorage.setItem(NAME, [...this.done].filter(Boolean).join(","));
    } catch {
      // remembered until the page is closed
    }
    this.draw();
  }

  private recall(): void {
    for (const deed of remembered()) this.done.add(deed);
  }

  private draw(): void {
    const left = (Object.keys(PARTS) as Deed[]).filter((deed) => !this.done.has(deed));
    setText(this.element, left.map((deed) => PARTS[deed]).join(" · "));
  }
}
