// @vitest-environment happy-dom
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { Tip } from "../../src/app/parts/tip";
import { button, h } from "../../src/base/dom";
import { explained } from "../../src/base/explained";
import { press, stage } from "./stage";

beforeAll(stage);
beforeEach(() => document.body.replaceChildren());

function shown() {
  const one = explained(
    button("one", {}, () => {}),
    "what one is",
  );
  let words = "first";
  const two = explained(h("span", { tabindex: 0 }, "two"), () => words);
  const opens = explained(
    button("opens", { "aria-expanded": "false" }, () => {}),
    "its own words",
  );
  const plain = button("plain", {}, () => {});
  const scope = h("main", {}, one, two, opens, plain);
  const tip = new Tip(scope);
  scope.append(tip.element);
  document.body.append(scope);
  const bubble = tip.element.querySelector("[data-tip]") as HTMLElement;
  const said = () => (bubble.hidden ? null : bubble.textContent);
  const point = (target: Element, type: string, pointerType: string) =>
    target.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerType }));
  const tap = (target: HTMLElement, pointerType = "touch") => {
    point(target, "pointerdown", pointerType);
    target.focus();
    target.click();
  };
  const change = (next: string) => {
    words = next;
  };
  return { tip, one, two, opens, plain, scope, bubble, said, point, tap, change };
}

describe("an explanation", () => {
  it("opens on focus, describes its element, and goes with the focus", () => {
    const { one, two, plain, bubble, said } = shown();
    one.focus();
    expect(said()).toBe("what one is");
    expect(one.getAttribute("aria-describedby")).toBe(bubble.id);
    two.focus();
    expect(said()).toBe("first");
    expect(one.hasAttribute("aria-describedby")).toBe(false);
    plain.focus();
    expect(said()).toBeNull();
  });

  it("opens on a tap, and closes on the next one elsewhere", () => {
    const { one, plain, said, tap } = shown();
    tap(one);
    expect(said()).toBe("what one is");
    tap(plain);
    expect(said()).toBeNull();
  });

  it("is not there twice where the element opens it itself", () => {
    const { opens, said, tap } = shown();
    tap(opens);
    expect(said()).toBeNull();
  });

  it("opens under a mouse that rests, and not by its press", () => {
    vi.useFakeTimers();
    const { one, plain, said, point, tap } = shown();
    point(one, "pointerover", "mouse");
    expect(said()).toBeNull();
    vi.runAllTimers();
    expect(said()).toBe("what one is");
    tap(one, "mouse");
    expect(said()).toBeNull();
    point(one, "pointerover", "mouse");
    point(plain, "pointerover", "mouse");
    vi.runAllTimers();
    expect(said()).toBeNull();
    vi.useRealTimers();
  });

  it("has the words of the moment, and none where there is nothing to say", () => {
    const { two, plain, said, change } = shown();
    change("second");
    two.focus();
    expect(said()).toBe("second");
    plain.focus();
    change("");
    two.focus();
    expect(said()).toBeNull();
  });

  it("is closed by Escape's owner, once", () => {
    const { one, tip, said } = shown();
    one.focus();
    press(one, "Escape");
    expect(tip.close()).toBe(true);
    expect(said()).toBeNull();
    expect(tip.close()).toBe(false);
  });
});
