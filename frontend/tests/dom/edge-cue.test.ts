// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { h } from "../../src/base/dom";
import { EdgeCue } from "../../src/base/edge-cue";

describe("the edges of what scrolls", () => {
  it("say on which sides there is more", () => {
    const element = h("div");
    const sizes = { clientWidth: 100, clientHeight: 50, scrollWidth: 100, scrollHeight: 170 };
    for (const [name, value] of Object.entries(sizes)) Object.defineProperty(element, name, { value, writable: true });
    const cue = new EdgeCue(element);
    const more = (left: number, top: number) => {
      element.scrollLeft = left;
      element.scrollTop = top;
      cue.lookNow();
      return element.dataset.more ?? "";
    };
    expect(more(0, 0)).toBe("below");
    expect(more(0, 60)).toBe("above below");
    expect(more(0, 120)).toBe("above");
    Object.assign(element, { scrollWidth: 130, scrollHeight: 50 });
    expect(more(0, 0)).toBe("right");
    expect(more(30, 0)).toBe("left");
    Object.assign(element, { scrollWidth: 100.4 });
    expect(more(0, 0)).toBe("");
  });
});
