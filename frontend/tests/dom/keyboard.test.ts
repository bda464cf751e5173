// @vitest-environment happy-dom
import { beforeEach, describe, expect, it } from "vitest";
import { keepKeys, listenToKeys } from "../../src/app/keyboard";
import { keyOf, levelOfKey } from "../../src/app/level-order";
import { h } from "../../src/base/dom";
import { LEVELS } from "../../src/base/state";
import { press } from "./stage";

beforeEach(() => document.body.replaceChildren());

function shown(alone = false) {
  const did: string[] = [];
  const input = h("input", { type: "text" });
  const range = h("input", { type: "range" });
  const text = h("div", { tabindex: 0 });
  const scope = h("main", {}, input, range, text);
  document.body.append(scope);
  const stop = listenToKeys(scope, alone, {
    enter: () => did.push("enter"),
    escape: () => did.push("escape"),
    find: () => did.push("find"),
    help: () => did.push("help"),
    written: (by) => did.push(`written ${by}`) > 0,
    level: (key) => levelOfKey(key) !== undefined && did.push(key) > 0,
  });
  return { did, input, range, text, stop };
}

describe("the keys of the frame", () => {
  it("are taken, and what is not one of them is left to the browser", () => {
    const { did, text } = shown();
    for (const key of ["/", "?", "1", "5", ".", ",", "Enter", "Escape"]) expect(press(text, key)).toBe(false);
    expect(did).toEqual(["find", "help", "1", "5", "written 1", "written -1", "enter", "escape"]);
    for (const key of ["6", "a", "ArrowDown", "Tab"]) expect(press(text, key)).toBe(true);
    expect(press(text, "1", { ctrlKey: true })).toBe(true);
    expect(did.length).toBe(8);
  });

  it("are letters where one writes, and levels where one only slides", () => {
    const { did, input, range } = shown();
    for (const key of ["/", "?", "2", "Enter"]) press(input, key);
    expect(did).toEqual([]);
    press(input, "Escape");
    press(range, "3");
    expect(did).toEqual(["escape", "3"]);
  });

  it("name the levels from far to near", () => {
    expect(LEVELS.map(keyOf)).toEqual(["0", "1", "2", "3", "4", "5"]);
    expect(["0", "1", "2", "3", "4", "5"].map(levelOfKey)).toEqual([...LEVELS]);
    expect(levelOfKey("6")).toBeUndefined();
  });
});

describe("the keys in a notebook", () => {
  it("are the view's while it has the focus, save for those that are held and Shift+Enter", () => {
    const MARK = "data-lm-suppress-shortcuts";
    const input = h("input", { type: "text" });
    const root = h("div", {}, input);
    const cell = h("div", { tabindex: 0 });
    document.body.append(root, cell);
    const stop = keepKeys(root);
    const seen: boolean[] = [];
    document.addEventListener("keydown", () => seen.push(root.hasAttribute(MARK)));
    press(root, "ArrowDown");
    press(root, "s", { ctrlKey: true });
    press(root, "d");
    press(root, "Enter", { shiftKey: true });
    press(input, "Enter", { shiftKey: true });
    expect(seen).toEqual([true, false, true, false, true]);
    stop();
    root.removeAttribute(MARK);
    press(root, "ArrowDown");
    expect(seen.at(-1)).toBe(false);
  });
});
