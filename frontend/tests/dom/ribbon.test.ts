// @vitest-environment happy-dom
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { baseOf, inRuns } from "../../src/app/parts/directions";
import { Ribbon } from "../../src/app/parts/ribbon";
import { press, sceneAt, source, stage, WORDS } from "./stage";

beforeAll(stage);
beforeEach(() => document.body.replaceChildren());

function shown(role: "both" | "query" | "key" = "both", scene = sceneAt(source())) {
  const picked: number[] = [];
  const pinned: number[] = [];
  const said: string[] = [];
  const host = {
    pickQuery: (q: number) => picked.push(q),
    pin: (k: number) => pinned.push(k),
    group: () => {},
    say: (t: string) => said.push(t),
  };
  const ribbon = new Ribbon(role, null, host, "r");
  document.body.append(ribbon.element);
  ribbon.draw(scene);
  const tokens = [...ribbon.element.querySelectorAll<HTMLElement>("[data-token]")];
  const flow = ribbon.element.querySelector("[data-ribbon]") as HTMLElement;
  return { ribbon, scene, tokens, flow, picked, pinned, said };
}

describe("the ribbon", () => {
  it("has the words of the text, the query selected and the strongest key ringed", () => {
    const { tokens, scene, flow } = shown();
    expect(tokens.map((one) => one.textContent)).toEqual(WORDS);
    expect(tokens.filter((one) => one.getAttribute("aria-selected") === "true")).toEqual([tokens[scene.query]]);
    expect(tokens.filter((one) => one.classList.contains("pinned"))).toEqual([tokens[scene.key]]);
    expect(flow.getAttribute("aria-activedescendant")).toBe(`r-${scene.query}`);
  });

  it("lays ink under a word in proportion to its weight, and none under what is masked", () => {
    const { tokens, scene } = shown();
    const ink = tokens.map((one) => Number(one.style.backgroundSize.match(/([\d.]+)px$/)?.[1]));
    const order = (values: ArrayLike<number>) =>
      [...Array.from(values).keys()].sort((a, b) => values[b] - values[a])[0];
    expect(order(ink)).toBe(order(scene.chain.weights));
    for (let key = 0; key < WORDS.length; key++) {
      const weight = scene.chain.weights[key];
      // at least a hairline, in quarters of a pixel
      const expected = weight < 0.0005 ? 0 : Math.max(1, (14 * weight) / scene.weightEnd);
      expect(Math.abs(ink[key] - expected)).toBeLessThanOrEqual(0.125);
    }
    expect(tokens.map((one) => one.classList.contains("masked"))).toEqual(WORDS.map((_, key) => key > 5));
  });

  it("picks the query that is clicked, or walked to, and stops at both ends", () => {
    const { tokens, flow, picked, ribbon } = shown();
    tokens[2].click();
    expect(press(flow, "ArrowLeft")).toBe(false);
    press(flow, "End");
    expect(picked).toEqual([2, 4, 6]);
    ribbon.draw(sceneAt(source(), { query: 0 }));
    press(flow, "ArrowLeft");
    expect(picked.length).toBe(3);
  });

  it("pins a key where it is the text of the keys", () => {
    const { tokens, flow, pinned, picked, scene } = shown("key");
    tokens[1].click();
    press(flow, "ArrowRight");
    expect(pinned).toEqual([1, Math.min(6, scene.key + 1)]);
    expect(picked).toEqual([]);
  });

  it("says position, word and weight of the word under the pointer", () => {
    const { tokens, said } = shown();
    for (const i of [4, 6]) tokens[i].dispatchEvent(new Event("pointerover", { bubbles: true }));
    expect(said[0]).toMatch(/^token 4 · its · weight [\d.]+ %$/);
    expect(said[1]).toBe("token 6 · . · masked");
  });
});

describe("the direction of words", () => {
  const words = (texts: string[]) => texts.map((text) => ({ element: document.createElement("i"), text }));
  const shape = (texts: string[]) => {
    const units = words(texts);
    const name = (element: Element) => texts[units.findIndex((unit) => unit.element === element)];
    return inRuns(units, baseOf(texts)).map((element) =>
      element.className === "run" ? { [(element as HTMLElement).dir]: [...element.children].map(name) } : name(element),
    );
  };

  it("words from the right run together within a text from the left", () => {
    expect(shape(["He", "said", "שלום", "עולם", "twice", "."])).toEqual([
      "He",
      "said",
      { rtl: ["שלום", "עולם"] },
      "twice",
      ".",
    ]);
  });

  it("what has no direction goes with its neighbours where they agree, else with the text", () => {
    expect(shape(["a", "שלום", ",", "7", "עולם", "!"])).toEqual(["a", { rtl: ["שלום", ",", "7", "עולם"] }, "!"]);
    expect(shape(["7", "مرحبا", "-", "ab", "(", "cd", ")", "."])).toEqual([
      "7",
      "مرحبا",
      "-",
      { ltr: ["ab", "(", "cd"] },
      ")",
      ".",
    ]);
    expect(shape(["1", "+", "2"])).toEqual(["1", "+", "2"]);
  });

  it("pieces of a word stand in its direction, and arrow keys follow it", () => {
    const scene = sceneAt(source());
    const texts = ["بال", "عالم", "עולם", "cat", "s", "כן", "."];
    const wholes = ["بالعالم", "بالعالم", "", "cats", "cats", "", ""];
    const wordOf = [0, 0, 1, 2, 2, 3, 4];
    scene.queryLabels = scene.queryLabels.map((label, i) => ({
      ...label,
      text: texts[i],
      whole: wholes[i],
      word: wordOf[i],
      special: false,
    }));
    scene.keyLabels = scene.queryLabels;
    const { ribbon, flow, tokens, picked } = shown("both", scene);
    const dirs = [...ribbon.element.querySelectorAll<HTMLElement>(".word")].map((word) => [word.textContent, word.dir]);
    expect(dirs).toEqual([
      ["بالعالم", "rtl"],
      ["cats", "ltr"],
    ]);
    expect(tokens.map(({ classList }) => ["joins-on", "joins-back"].filter((one) => classList.contains(one)))).toEqual(
      [["joins-on"], ["joins-back"], [], [], [], [], []], // letters of Arabic join across the border, others do not
    );
    expect(flow.dir).toBe("rtl");
    press(flow, "ArrowLeft");
    press(flow, "ArrowRight");
    expect(picked).toEqual([scene.query + 1, scene.query - 1]);
  });
});

describe("the search in the ribbon", () => {
  function searching(role: "both" | "key" = "both") {
    const all = shown(role);
    const { ribbon } = all;
    const input = ribbon.element.querySelector("[data-find]") as HTMLInputElement;
    const status = () => ribbon.element.querySelector("[data-found]")?.textContent;
    const type = (text: string) => {
      input.value = text;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    };
    const of = (name: string) => all.tokens.filter((one) => one.classList.contains(name)).map((one) => one.textContent);
    ribbon.seek();
    return { ...all, input, status, type, of };
  }

  it("marks what is written, from the query on, and leaves the query where it is", () => {
    const { type, of, status, picked, input } = searching();
    expect(document.activeElement).toBe(input);
    type("S");
    const words = WORDS.filter((word) => word.toLowerCase().includes("s"));
    expect(words.length).toBeGreaterThan(1);
    expect(of("found")).toEqual(words);
    expect(of("sought").length).toBe(1);
    expect(status()).toMatch(new RegExp(`^[1-9] of ${words.length}$`));
    type("nowhere");
    expect(of("found")).toEqual([]);
    expect(status()).toBe("not found");
    expect(picked).toEqual([]);
  });

  it("goes to a word with Enter, on with Enter, back with Shift+Enter, and around the end", () => {
    const { type, picked, input } = searching();
    type("s");
    const places = WORDS.flatMap((word, i) => (word.toLowerCase().includes("s") ? [i] : []));
    const start = Math.max(
      0,
      places.findIndex((place) => place >= 5),
    );
    for (let i = 0; i <= places.length; i++) press(input, "Enter");
    expect(picked).toEqual(Array.from({ length: places.length + 1 }, (_, i) => places[(start + i) % places.length]));
    press(input, "Enter", { shiftKey: true });
    expect(picked.at(-1)).toBe(places[(start + places.length - 1) % places.length]);
  });

  it("pins a key in the text of the keys", () => {
    const { type, pinned, picked, input } = searching("key");
    type(WORDS[0]);
    press(input, "Enter");
    expect(pinned).toEqual([0]);
    expect(picked).toEqual([]);
  });

  it("is closed by Escape, which goes no further, and gives the keyboard back to the text", () => {
    const { type, of, input, flow, ribbon } = searching();
    type("s");
    expect(press(input, "Escape")).toBe(false);
    expect(of("found")).toEqual([]);
    expect(document.activeElement).toBe(flow);
    expect(ribbon.close()).toBe(false);
  });
});
