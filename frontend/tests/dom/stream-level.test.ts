// @vitest-environment happy-dom
/** The stream level: its numbers are those of the table, what a reader chooses, and what it does not vouch for. */

import { beforeAll, describe, expect, it } from "vitest";
import cases from "../../../tests/cases/stream.json";
import { levelNamed } from "../../src/app/level-registry";
import type { State } from "../../src/base/state";
import type { StreamNote } from "../../src/data/metadata";
import { StreamTable } from "../../src/data/stream";
import { columnOf } from "../../src/heads/stream-column";
import { folded } from "../../src/levels/stream/folding";
import { endsOf, Rows } from "../../src/levels/stream/rows";
import type { Level } from "../../src/scene/level";
import { asText } from "../../src/scene/text";
import type { Streamed } from "../fixture";
import { GIVEN, LOGITS, streamed } from "../stream-fixture";
import { actions, HEIGHT, press, sceneAt, source, stage } from "./stage";

beforeAll(stage);

function drawn(state: Partial<State> = {}, table: Streamed = streamed()) {
  const of = source(table);
  const host = actions();
  const level = levelNamed("stream")?.make(host, () => ({ top: 0, bottom: HEIGHT }), of) as Level;
  document.body.replaceChildren(level.element);
  const draw = (change: Partial<State> = {}) => {
    const scene = sceneAt(of, { level: "stream", query: 3, ...state, ...change });
    level.sentence?.(scene);
    level.draw(scene);
    return scene;
  };
  const scene = draw();
  const find = (selector: string) => level.element.querySelector<HTMLElement>(selector) as HTMLElement;
  const value = (line: string, column = "value") =>
    Number(find(`[data-line="${line}"] [data-col="${column}"]`)?.dataset.value ?? Number.NaN);
  return { level, host, draw, scene, find, value };
}

describe("the column", () => {
  it("adds up to the logit difference, row by row", () => {
    const { value, find } = drawn();
    const difference = (part: number) => GIVEN[part][0] - GIVEN[part][1];
    expect(value("embedding")).toBeCloseTo(difference(0), 6);
    expect(value("b0")).toBeCloseTo(difference(1) + difference(2), 6);
    expect(value("b1")).toBeCloseTo(difference(3), 6);
    expect(value("b2")).toBeCloseTo(difference(4) + difference(5), 6);
    expect(value("p7")).toBe(0);
    expect(value("b0", "running")).toBeCloseTo(difference(0) + difference(1) + difference(2), 6);
    expect(value("p7", "running")).toBeCloseTo(LOGITS[0][0] - LOGITS[0][1], 6);
    expect(find('[data-line="b3"] [data-col="lens"]').dataset.value).toBe(String(Math.fround(0.62)));
    expect(find("[data-stream-receipt]").dataset.streamReceipt).toBe("passed");
  });

  it("opens the block whose head adds most, its heads sorted, and any other on a click", () => {
    const { find, level, value } = drawn();
    const shown = () => [...level.element.querySelectorAll<HTMLElement>("[data-line]")].map((one) => one.dataset.line);
    expect(shown()).toEqual(["embedding", "b0", "b1", "b2", "p4", "p5", "b3", "p7"]);
    expect(value("p4")).toBeCloseTo(2.5, 6);
    find('[data-line="b2"]').click();
    find('[data-line="b0"]').click();
    expect(shown()).toEqual(["embedding", "b0", "p1", "p2", "b1", "b2", "b3", "p7"]);
  });

  it("goes to a head, by pointer and by key", () => {
    const { find, host } = drawn();
    find('[data-line="p4"]').click();
    expect(host.asked.at(-1)).toEqual({ level: "head", stack: null, layer: 1, head: 0, key: null });
    const row = find('[data-line="b2"]');
    press(row, "ArrowDown");
    press(find('[data-line="p4"]'), "ArrowDown");
    expect(press(find('[data-line="p5"]'), "Enter")).toBe(false);
    expect(host.asked.at(-1)).toMatchObject({ level: "head", layer: 1, head: 1 });
    press(find('[data-line="p5"]'), "ArrowLeft");
    expect(find('[data-line="b2"]').tabIndex).toBe(0);
    press(find('[data-line="b2"]'), "ArrowLeft");
    expect(find('[data-line="p4"]')).toBeNull();
    expect(press(find('[data-line="embedding"]'), "Enter"), "Enter goes one level in").toBe(true);
  });

  it("moves its bars to another query in the same elements", () => {
    const { find, draw, value } = drawn();
    const bar = find('[data-line="b1"] .stream-bar i');
    draw({ query: 6 });
    expect(find('[data-line="b1"] .stream-bar i')).toBe(bar);
    expect(value("b1")).toBeCloseTo(2 * (GIVEN[3][2] - GIVEN[3][1]), 6);
  });
});

describe("quiet layers", () => {
  const quiet = cases.find(({ name }) => name === "quiet layers stand together") as (typeof cases)[number];
  const numbers = quiet.table.numbers as unknown as Record<string, number[][][]>;
  const floats = (name: string) => (numbers[name] ? Float32Array.from(numbers[name].flat(2)) : null);
  const column = columnOf(new StreamTable(quiet.table.note as StreamNote, floats), 0, null, null);

  it("open and close by key and by click, and the focus stays", () => {
    const opened = new Set<string>();
    const toggle = (line: { id: string }) => {
      if (!opened.delete(line.id)) opened.add(line.id);
      draw();
    };
    const rows = new Rows({ say: () => {}, toggle, enter: () => {} });
    const draw = () => rows.draw(column, folded(column, false), opened, () => false, endsOf(column));
    draw();
    document.body.replaceChildren(rows.element);
    const all = () => [...rows.element.querySelectorAll<HTMLElement>("[data-line]")];
    const closed = all().length;
    const fold = all().find((row) => row.dataset.kind === "fold") as HTMLElement;
    fold.focus();
    press(fold, "ArrowRight");
    expect(document.activeElement).toBe(fold);
    expect(fold.getAttribute("aria-expanded")).toBe("true");
    expect(all().length).toBeGreaterThan(closed);
    const inside = fold.nextElementSibling as HTMLElement;
    expect(inside.getAttribute("aria-level")).toBe("2");
    press(fold, "ArrowDown");
    expect(document.activeElement).toBe(inside);
    press(inside, "ArrowLeft");
    expect(document.activeElement).toBe(fold);
    press(fold, "ArrowLeft");
    expect(all().length).toBe(closed);
    fold.click();
    expect(all().length).toBeGreaterThan(closed);
    fold.click();
    expect(all().length).toBe(closed);
  });
});

describe("target and alternative", () => {
  it("are the first two, unless the state names others", () => {
    const { find, draw } = drawn();
    const parts = () => ["target", "against"].map((part) => find(`[data-part="${part}"]`)?.dataset.prediction);
    expect(parts()).toEqual(["3", "13"]);
    draw({ target: 23, against: 3 });
    expect(parts()).toEqual(["23", "3"]);
    draw({ target: 999 });
    expect(parts()).toEqual(["3", "13"]);
    draw({ against: 3 });
    expect(parts()).toEqual(["13", "3"]);
  });

  it("are chosen by a click, and change places", () => {
    const { find, host } = drawn();
    const pick = (id: number, which: string) => find(`[data-prediction="${id}"] .stream-${which}`).click();
    pick(23, "choose");
    expect(host.asked.at(-1)).toEqual({ target: 23, against: 13 });
    pick(13, "choose");
    expect(host.asked.at(-1)).toEqual({ target: 13, against: 3 });
    pick(23, "vs");
    expect(host.asked.at(-1)).toEqual({ target: 3, against: 23 });
    pick(3, "vs");
    expect(host.asked.at(-1)).toEqual({ target: 13, against: 3 });
    const asked = host.asked.length;
    pick(3, "choose");
    pick(13, "vs");
    expect(host.asked.length).toBe(asked);
  });
});

describe("a query that is not held", () => {
  it("names the positions, and goes to the nearest", () => {
    const { find, level, host, scene } = drawn({ query: 4 });
    expect(find("[data-not-held]").textContent).toContain("at positions 3, 6.");
    expect(asText(level.sentence?.(scene) ?? [])).toBe(
      "The stream is held at positions 3, 6, and not at the query its at 4.",
    );
    find("[data-nearest]").click();
    expect(host.asked.at(-1)).toEqual({ query: 3, key: null });
    find('[data-position="6"]').click();
    expect(host.asked.at(-1)).toEqual({ query: 6, key: null });
    expect(level.picture?.()).toBeNull();
  });
});

describe("the lens grid", () => {
  it("has a cell for each position and stage, and a click chooses the position", () => {
    const { find, level, host, scene } = drawn({ lens: true });
    const cells = [...level.element.querySelectorAll<HTMLElement>("[data-stage]")];
    expect(cells.length).toBe(6);
    expect(find('[data-stage="2"][data-row="1"]').dataset.value).toBe("0.5");
    find('[data-stage="2"][data-row="1"]').click();
    expect(host.asked.at(-1)).toEqual({ query: 6, key: null });
    press(find('[data-stage="2"][data-row="0"]'), "ArrowUp");
    expect(host.said.at(-1)).toContain("after L0, at 3");
    expect(asText(level.sentence?.(scene) ?? [])).toBe(
      "From L1 on the lens reads Mary, at the end with 62 %; before that, from L0 on, the.",
    );
  });
});

describe("the data table", () => {
  it("is that of the column, and over the lens grid that of the lens", () => {
    const { level, find, draw } = drawn();
    const table = level.tools?.find((one) => one.dataset.tool === "table") as HTMLElement;
    table.click();
    expect(find("[data-figures] caption").textContent).toContain("The stream at");
    draw({ lens: true });
    expect(find("[data-figures] caption").textContent).toContain("The lens at each position");
    const cells = [...level.element.querySelectorAll("[data-figures] tbody tr")].map((row) =>
      [...row.children].map((cell) => cell.textContent),
    );
    expect(cells.length).toBe(6);
    expect(cells[2].slice(2, 4)).toEqual(["L1", "Mary"]);
    expect(cells[5]).toEqual(["6", expect.any(String), "L1", "Mary", "50.0 %"]);
  });
});

it("positions and predictions are named as one reads them", () => {
  const { find } = drawn();
  expect(find('[data-position="3"]').textContent).toMatch(/^3 \S+ → Mary \S+ %$/);
  expect(find('[data-prediction="3"] .stream-choose').textContent).toMatch(/^Mary \S+ %$/);
  expect([...find(".stream-hint").querySelectorAll(".tok")].map((one) => one.textContent)).toEqual(["Mary", "John"]);
});

describe("what is not vouched for", () => {
  const broken = { receipt: { passed: false, stream_error: 0.3, logit_error: 0.2, sum_error: 0, tolerance: 1e-4 } };

  it("a failed receipt warns, and no bar is shown", () => {
    const { find, level, scene } = drawn({}, streamed(broken));
    expect(find(".stream-failed").textContent).toContain("do not match the model");
    expect(find(".stream-rows").hidden).toBe(true);
    expect(find('[data-line="b2"] [data-col="value"]')?.dataset.value).not.toBe("2.25");
    expect(asText(level.sentence?.(scene) ?? [])).toContain("nothing is attributed here");
  });

  it("parts that do not add up to the logit are found here", () => {
    const table = streamed();
    const bytes = table.tensors["stream.logits"].bytes;
    new DataView(bytes.buffer).setFloat32(0, 99, true);
    const { find } = drawn({}, table);
    expect(find("[data-stream-receipt]").dataset.streamReceipt).toBe("failed");
    expect(find(".stream-rows").hidden).toBe(true);
  });
});

describe("a model without a prediction", () => {
  it("shows how each block turns the stream, and its length", () => {
    const { value, find, level, scene } = drawn({}, streamed({}, "prediction"));
    expect(value("b0")).toBeCloseTo(60, 4);
    expect(value("b3", "running")).toBe(4);
    expect(find("[data-predictions]").hidden).toBe(true);
    expect(asText(level.sentence?.(scene) ?? [])).toBe(
      "L1 MLP turns the stream most, by 90°; from the embedding to the end its length goes from 1.0 to 4.0.",
    );
  });

  it("one whose logits cannot be attributed says why", () => {
    const { find } = drawn({}, streamed({}, "contributions"));
    expect(find(".stream-note").textContent).toBe(
      "Nothing is attributed to a logit: there is no head to predict with.",
    );
    expect(find("[data-predictions]").hidden).toBe(false);
  });
});

it("is not there without a table, and says how to get it", () => {
  expect(levelNamed("stream")?.missing?.(source())).toContain('level="stream"');
  expect(levelNamed("stream")?.missing?.(source(streamed()))).toBeNull();
});
