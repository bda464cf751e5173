// @vitest-environment happy-dom
/** Groups of tokens: sums, what is drawn as one, the outline, and headings in the table of keys. */
import { beforeAll, describe, expect, it } from "vitest";
import cases from "../../../tests/cases/groups.json";
import { Outline } from "../../src/app/parts/outline";
import { fitted } from "../../src/app/validate-state";
import type { State } from "../../src/base/state";
import type { TokenTable } from "../../src/data/metadata";
import type { Source } from "../../src/data/source";
import { axisOf, mergedRow } from "../../src/heads/axis";
import { drawingOf } from "../../src/levels/matrix/drawing";
import { PairNumbers } from "../../src/levels/model/pair-numbers";
import { lines } from "../../src/levels/neuron/folding";
import { groupRows, groupsIn, groupsOf, poolOf } from "../../src/scene/groups";
import { press, sceneAt, source, stage, WORDS } from "./stage";

beforeAll(stage);

type Rows = NonNullable<TokenTable["groups"]>;
const GROUPS: Rows = [
  ["first", "own", 0, 3, null],
  ["inner", "sentence", 1, 3, 0],
  ["second", "own", 3, 6, null],
  ["rest", "other", 6, 7, null],
];

function divided(groups: Rows = GROUPS): Source {
  const made = source();
  made.meta.tokens[0].groups = groups;
  return made;
}
const at = (change: Partial<State> = {}, groups?: Rows) => sceneAt(divided(groups), change);

describe("groups of tokens", () => {
  it("a group has the sums of its tokens that are not set aside, and an even share of the others'", () => {
    const scene = at();
    const { chain, aside } = scene;
    const counts = (j: number) => aside.keys[j] === 0;
    const seen = (j: number) => counts(j) && (!chain.allowed || chain.allowed[j] === 1);
    const sum = (of: (j: number) => number, start = 0, stop = WORDS.length) => {
      let total = 0;
      for (let j = start; j < stop; j++) total += of(j);
      return total;
    };
    const all = sum((j) => (counts(j) ? chain.weights[j] : 0));
    for (const { start, stop, weight, share, even, tokens, depth, holds, name } of groupRows(scene)) {
      expect(weight).toBeCloseTo(
        sum((j) => (counts(j) ? chain.weights[j] : 0), start, stop),
        12,
      );
      expect(share).toBeCloseTo(
        sum((j) => (counts(j) ? chain.share[j] : 0), start, stop),
        12,
      );
      expect(even).toBeCloseTo((all * sum((j) => Number(seen(j)), start, stop)) / sum((j) => Number(seen(j))), 12);
      expect(tokens).toBe(sum((j) => Number(counts(j)), start, stop));
      expect([depth, holds]).toEqual([name === "inner" ? 1 : 0, name === "first"]);
    }
    expect(groupsOf(at({}, [])).length).toBe(0);
  });

  it("what is drawn as one is the same in Python", () => {
    const groups = groupsIn({ groups: cases.groups } as unknown as TokenTable);
    for (const { opened, pool } of cases.pools) expect(Array.from(poolOf(groups, opened))).toEqual(pool);
  });

  it("an axis of groups sums keys, and the query stays alone", () => {
    const scene = at();
    const groups = groupsOf(scene);
    const options = { words: false, hideSpecial: false, segment: null, groups };
    const pooled = axisOf(scene.keyLabels, 0, 7, { ...options, pool: poolOf(groups, null) });
    expect(pooled.slots.map(({ text, tokens }) => [text, tokens])).toEqual([
      ["first", [0, 1, 2]],
      ["second", [3, 4, 5]],
      ["rest", [6]],
    ]);
    const { weights, allowed } = scene.chain;
    const row = { weights, allowed, scores: null, dot: null, sink: 0, empty: false };
    expect(mergedRow([row], pooled).weights[0]).toBeCloseTo(weights[0] + weights[1] + weights[2], 12);
    const opened = axisOf(scene.queryLabels, 0, 7, { ...options, pool: poolOf(groups, 0), keep: 5 });
    expect(opened.slots.map(({ tokens }) => tokens)).toEqual(
      [[0], [1, 2], [3, 4], [5], [6]].flatMap((one, i) => (i === 1 ? [[1], [2]] : [one])),
    );
    // what is hidden within a group does not divide it
    const hiding = axisOf(scene.keyLabels, 0, 7, {
      ...options,
      hideSpecial: true,
      sinks: [1],
      pool: poolOf(groups, null),
    });
    expect(hiding.slots[0].tokens.includes(1)).toBe(false);
    expect(hiding.slots.map(({ text }) => text)).toEqual(["first", "second"]); // the last token is special
  });

  it("the outline opens where most of the weight goes, looks at a group, and walks by arrow keys", () => {
    const asked: (number | null)[] = [];
    const said: string[] = [];
    const outline = new Outline({ group: (index) => asked.push(index), say: (text) => said.push(text) });
    document.body.append(outline.element);
    const heavy = groupRows(at())
      .filter(({ parent }) => parent === null)
      .sort((a, b) => b.weight - a.weight)[0];
    const names = () => [...outline.element.querySelectorAll("b")].map((one) => one.textContent);
    outline.draw(at());
    outline.look();
    expect(outline.element.hidden).toBe(false);
    expect(names().some((name) => name === "inner")).toBe(heavy.name === "first");
    const scene = at({ group: 1 });
    outline.draw(scene); // what it lies in opens
    expect(names()).toEqual(["▾ first", "inner", "second"]); // the last token is special, and in no group
    const line = (index: number) => outline.element.querySelector(`[data-group="${index}"]`) as HTMLElement;
    expect(line(1).getAttribute("aria-selected")).toBe("true");
    const row = groupRows(at())[2];
    expect(line(2).children[1].textContent).toBe(`${(100 * row.weight).toFixed(1)} %`);
    line(2).click();
    line(1).click();
    expect(asked).toEqual([2, null]);
    line(1).focus();
    press(line(1), "ArrowDown");
    expect(document.activeElement).toBe(line(2));
    outline.draw({ ...scene }); // as after a click
    expect(document.activeElement).toBe(line(2));
    expect(said.at(-1)).toMatch(/^second · 3 tokens · weight .* × an even spread$/);
    outline.draw(
      at({}, [
        ["all", "sentence", 0, 3, null],
        ["more", "sentence", 3, 7, null],
      ]),
    );
    expect(outline.element.hidden).toBe(true); // a short text is seen whole
    outline.element.remove();
  });

  it("the outline shows how a message begins, behind a role of several pieces", () => {
    const outline = new Outline({ group: () => {}, say: () => {} });
    const scene = at({}, [
      ["assistant 2", "own", 0, 5, null],
      ["user", "own", 5, 7, null],
    ]);
    const words = ["<|start|>", "ass", "istant", "↵", "Hello", "use", "rs"];
    const keyLabels = scene.keyLabels.map((label, i) => ({
      ...label,
      text: words[i],
      special: i === 0,
      tight: i === 2 || i === 6,
    }));
    outline.draw({ ...scene, keyLabels });
    const begins = [...outline.element.querySelectorAll(".begins")].map((one) => one.textContent?.trim());
    expect(begins).toEqual(["Hello", "users"]);
  });

  it("groups as one are forgotten where a text has none", () => {
    const state = { ...at().state, pooled: true };
    expect(fitted(divided().meta, state, state, []).pooled).toBe(true);
    expect(fitted(source().meta, state, state, []).pooled).toBe(false);
  });

  it("the table of keys has a heading for each group, which opens into those within it and into keys", () => {
    const count = 60;
    const weights = new Float64Array(count).fill(0.001);
    weights[12] = 0.5;
    const chain = { weights, allowed: null, hasSink: false } as never;
    const keys = Array.from({ length: count }, (_, j) => j);
    const named = (name: string, start: number, stop: number, parent: number | null, index: number) => ({
      name,
      kind: "message",
      start,
      stop,
      parent,
      index,
      depth: parent === null ? 0 : 1,
      holds: false,
      tokens: 0,
      weight: 0,
      share: 0,
      even: 0,
    });
    const groups = [named("a", 0, 20, null, 0), named("b", 10, 20, 0, 1), named("c", 20, 60, null, 2)];
    const shape = (opened: number[]) =>
      lines(chain, {
        keys,
        keep: new Set([40]),
        opened: new Set(opened),
        expanded: false,
        byWeight: false,
        groups,
      }).map((line) =>
        line.kind === "fold"
          ? `${line.group?.name ?? "run"} ${line.keys.length}`
          : line.kind === "key"
            ? line.key
            : "sink",
      );
    expect(shape([])).toEqual(["a 20", 12, "c 40", 40]);
    expect(shape([-1])).toEqual(["a 20", "run 10", "b 10", 12, "c 40", 40]);
    expect(shape([-1, -2])).toEqual(["a 20", "run 10", "b 10", "run 2", 12, "run 7", "c 40", 40]);
    expect(shape([-3])).toEqual(["a 20", 12, "c 40", "run 20", 40, "run 19"]);
  });

  it("heads are ordered by the weight of the group, and the grid has a line where a group begins", () => {
    const of = divided();
    const scene = sceneAt(of, { group: 2 });
    const heads = [{ site: scene.site, head: scene.state.head }] as never[];
    const numbers = new PairNumbers(of, scene, heads);
    expect(numbers.value(heads[0], "group")).toBeCloseTo(groupRows(scene)[2].weight, 6);
    expect(new PairNumbers(of, sceneAt(of), heads).value(heads[0], "group")).toBe(null);
    const slots = WORDS.map((_, j) => ({ tokens: [j] }));
    const axes = { queries: { slots }, keys: { slots }, query: 5, key: -1 };
    const field = { cache: { signed: false }, quantity: "weights", end: 1, largest: 1 };
    const { borders } = drawingOf(field as never, null, {} as never, axes as never, scene);
    expect(borders.key).toEqual([3, 6]);
  });
});
