// @vitest-environment happy-dom
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isMasked } from "../../src/chain/chain";
import { layoutFor } from "../../src/levels/neuron/columns";
import { Table } from "../../src/levels/neuron/table";
import type { Scene } from "../../src/scene/scene";
import { actions, press, sceneAt, source, stage, WIDTH, WORDS } from "./stage";

beforeAll(stage);
beforeEach(() => document.body.replaceChildren());

function shown(scene: Scene = sceneAt(source())) {
  const asks = actions();
  const table = new Table(asks);
  document.body.append(table.element);
  table.resize(WIDTH);
  table.draw(scene);
  const rows = () =>
    [...table.element.querySelectorAll<HTMLElement>("[data-line]")].sort(
      (a, b) => Number(a.dataset.line) - Number(b.dataset.line),
    );
  const cell = (key: number, column: string) =>
    table.element.querySelector<HTMLElement>(`[data-row-key="${key}"] [data-col="${column}"]`);
  const active = () => table.element.querySelector<HTMLElement>("[data-active]");
  return { table, scene, asks, rows, cell, active };
}

describe("the table", () => {
  it("has a line for each key, in text order, and its numbers exactly", () => {
    const { rows, cell, scene } = shown();
    expect(rows().map((row) => Number(row.dataset.rowKey))).toEqual(WORDS.map((_, key) => key));
    for (let key = 0; key <= scene.query; key++) {
      expect(cell(key, "token")?.querySelector(".tok")?.textContent).toBe(WORDS[key]);
      expect(Number(cell(key, "dot")?.dataset.value)).toBe(scene.chain.dot?.[key]);
      expect(Number(cell(key, "weight")?.dataset.value)).toBe(scene.chain.weights[key]);
    }
  });

  it("marks the key that the mask forbids", () => {
    const { rows, scene } = shown();
    expect(isMasked(scene.chain, 6)).toBe(true);
    expect(rows().map((row) => row.classList.contains("masked"))).toEqual(WORDS.map((_, key) => key > 5));
  });

  it("sorts by weight", () => {
    const { table, rows, scene } = shown();
    table.byWeight = true;
    table.draw(scene);
    const weights = rows().map((row) => scene.chain.weights[Number(row.dataset.rowKey)]);
    expect(weights).toEqual([...weights].sort((a, b) => b - a));
    expect(weights[0]).toBeGreaterThan(weights[1]);
  });

  it("rows and columns are counted for those who do not see them", () => {
    const { table, rows } = shown();
    expect(table.element.getAttribute("aria-rowcount")).toBe(String(WORDS.length + 2));
    expect(table.element.getAttribute("aria-colcount")).toBe("8");
    expect(rows().map((row) => row.getAttribute("aria-rowindex"))).toEqual(WORDS.map((_, i) => String(i + 2)));
  });

  it("pins the key of a line that is clicked", () => {
    const { rows, asks } = shown();
    rows()[3].click();
    expect(asks.asked).toEqual([{ key: 3 }]);
  });
});

describe("the list of the table", () => {
  const list = (table: Table) => table.element.querySelector(".keys-list") as HTMLElement;

  it("is as high as the lines that there is room for, and shows the edge of the next", () => {
    const { table } = shown();
    table.fit(5 * 24 + 13);
    expect(list(table).style.maxHeight).toBe(`${5 * 24 + 10}px`);
    table.fit(0);
    expect(list(table).style.maxHeight).toBe(`${4 * 24 + 10}px`);
  });

  it("brings the pinned row into sight within itself", () => {
    const { table } = shown(sceneAt(source(), { key: 6 }));
    table.fit(0);
    table.look();
    const top = list(table).scrollTop;
    expect(top).toBeGreaterThan(0);
    expect(6 * 24 - top).toBeGreaterThanOrEqual(0);
    expect(7 * 24 - top).toBeLessThanOrEqual(4 * 24);
    list(table).scrollTop = 0;
    table.look();
    expect(list(table).scrollTop).toBe(0); // once: the reader scrolls from there
    table.draw(sceneAt(source(), { key: 5 }));
    table.look();
    expect(list(table).scrollTop).toBeGreaterThan(0);
  });
});

describe("the keyboard in the table", () => {
  it("starts at the strongest key and says each number that it comes to", () => {
    const { table, scene, active, asks } = shown();
    table.element.focus();
    const first = active();
    expect(first?.closest<HTMLElement>("[data-row-key]")?.dataset.rowKey).toBe(String(scene.key));
    press(table.element, "Home", { ctrlKey: true });
    press(table.element, "End");
    expect(active()?.dataset.col).toBe("v");
    expect(active()?.closest<HTMLElement>("[data-row-key]")?.dataset.rowKey).toBe("0");
    expect(table.element.getAttribute("aria-activedescendant")).toBe(active()?.id);
    const last = scene.tensors.value(0).length - 1;
    expect(asks.said.at(-1)).toContain(`The (key 0) · v · dimension ${last}: `);
  });

  it("walks through the cells of a strip before it leaves the column", () => {
    const { table, scene, active, asks } = shown();
    table.element.focus();
    press(table.element, "Home", { ctrlKey: true });
    press(table.element, "Home");
    const columns: string[] = [];
    for (let i = 0; i < 4 + scene.site.head_size; i++) {
      columns.push(active()?.dataset.col ?? "");
      press(table.element, "ArrowRight");
    }
    expect(columns).toEqual(["token", "weight", "share", ...Array(scene.site.head_size).fill("k"), "product"]);
    expect(asks.said.filter((text) => text.includes(" · k · dimension")).length).toBe(scene.site.head_size);
  });

  it("stays inside at the edges", () => {
    const { table, active } = shown();
    table.element.focus();
    press(table.element, "Home", { ctrlKey: true });
    press(table.element, "Home");
    press(table.element, "ArrowUp");
    press(table.element, "ArrowLeft");
    expect(active()?.dataset.col).toBe("token");
    expect(active()?.closest<HTMLElement>("[data-line]")?.dataset.line).toBe("0");
    press(table.element, "End", { ctrlKey: true });
    press(table.element, "ArrowDown");
    expect(active()?.closest<HTMLElement>("[data-line]")?.dataset.line).toBe(String(WORDS.length - 1));
  });

  it("Enter pins; on the pinned key it is left to the frame", () => {
    const { table, asks } = shown();
    table.element.focus();
    press(table.element, "Home", { ctrlKey: true });
    expect(press(table.element, "Enter")).toBe(false);
    expect(asks.asked).toEqual([{ key: 0 }]);
    table.draw(sceneAt(source(), { key: 0 }));
    expect(press(table.element, "Enter")).toBe(true);
    expect(asks.asked.length).toBe(1);
  });

  it("leaves the keys alone that are not its own", () => {
    const { table } = shown();
    table.element.focus();
    expect(press(table.element, "a")).toBe(true);
    expect(press(table.element, "ArrowDown", { altKey: true })).toBe(true);
    expect(press(table.element, "ArrowDown")).toBe(false);
  });
});

describe("the columns", () => {
  const scene = sceneAt(source());

  it("begin with the key, its weight and its share, at any width", () => {
    for (const width of [1100, 899, 700, 559, 366])
      expect(layoutFor(width, scene, null, 1).columns.slice(0, 3)).toEqual(["token", "weight", "share"]);
    expect(layoutFor(1100, scene, null, 1)).toMatchObject({ mode: "wide", folded: [] });
    expect(layoutFor(1100, scene, null, 1).columns.slice(3)).toEqual(["k", "product", "dot", "score", "v"]);
  });

  it("fold the vectors away below 900 pixels; one that the reader asks for stands beside the rest", () => {
    const beside = (width: number, vector: "k" | "product" | "v" | null) =>
      layoutFor(width, scene, vector, 1).columns.slice(3);
    expect(layoutFor(899, scene, null, 1).folded).toEqual(["k", "product", "v"]);
    expect(beside(700, null)).toEqual(["dot", "score"]);
    expect(beside(700, "k")).toEqual(["k", "dot", "score"]);
    expect(beside(700, "v")).toEqual(["v"]);
    expect(beside(366, null)).toEqual([]);
    expect(beside(366, "product")).toEqual(["product"]);
  });

  it("are as wide together as the view, however few there are", () => {
    for (const vector of ["k", "product", "v", null] as const)
      for (const width of [1100, 900, 899, 560, 559, 320]) {
        const { columns, template, mode } = layoutFor(width, scene, vector, 1);
        const least = (template.match(/[\d.]+(?=px)/g) ?? []).map(Number).reduce((a, b) => a + b, 0);
        expect(least + (columns.length - 1) * { wide: 14, medium: 10, narrow: 8 }[mode]).toBeLessThanOrEqual(width);
      }
  });

  it("leave out what weights alone do not have", () => {
    const bare = {
      ...scene,
      site: { ...scene.site, weights_only: true },
      tensors: { ...scene.tensors, v: new Float32Array(0) },
    };
    expect(layoutFor(1100, bare as unknown as Scene, null, 1).columns).toEqual(["token", "weight"]);
  });

  it("have strips of whole device pixels, a cell for each number where there is room", () => {
    for (const ratio of [1, 1.5, 2, 3]) {
      const { key } = layoutFor(1100, scene, null, ratio);
      expect(Number.isInteger(key.cell)).toBe(true);
      expect(key.cells * key.perCell).toBeGreaterThanOrEqual(scene.site.head_size);
      expect(key.perCell).toBe(1);
    }
  });
});
