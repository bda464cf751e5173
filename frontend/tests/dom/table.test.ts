// @vitest-environment happy-dom
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isMasked } from "../../src/chain/chain";
import { layoutFor } from "../../src/levels/neuron/columns";
import { Table } from "../../src/levels/neuron/table";
import type { Scene } from "../../src/scene/scene";
import { actions, HEIGHT, press, sceneAt, source, stage, WIDTH, WORDS } from "./stage";

beforeAll(stage);
beforeEach(() => document.body.replaceChildren());

function shown(scene: Scene = sceneAt(source())) {
  const asks = actions();
  const table = new Table(asks, () => ({ top: 0, bottom: HEIGHT }));
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
    for (let i = 0; i < 2 + scene.site.head_size; i++) {
      columns.push(active()?.dataset.col ?? "");
      press(table.element, "ArrowRight");
    }
    expect(columns).toEqual(["token", ...Array(scene.site.head_size).fill("k"), "product"]);
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

  it("are fewer in a narrow view, with one strip that the reader chooses", () => {
    expect(layoutFor(1100, scene, "product", 1)).toMatchObject({ mode: "wide" });
    expect(layoutFor(1100, scene, "product", 1).columns.length).toBe(8);
    expect(layoutFor(700, scene, "k", 1)).toMatchObject({
      mode: "medium",
      columns: ["token", "k", "dot", "score", "weight", "share", "v"],
    });
    expect(layoutFor(400, scene, "v", 1)).toMatchObject({
      mode: "narrow",
      columns: ["token", "v", "dot", "weight", "share"],
    });
  });

  it("leave out what weights alone do not have", () => {
    const bare = {
      ...scene,
      site: { ...scene.site, weights_only: true },
      tensors: { ...scene.tensors, v: new Float32Array(0) },
    };
    expect(layoutFor(1100, bare as unknown as Scene, "product", 1).columns).toEqual(["token", "weight"]);
  });

  it("have strips of whole device pixels, a cell for each number where there is room", () => {
    for (const ratio of [1, 1.5, 2, 3]) {
      const { key } = layoutFor(1100, scene, "product", ratio);
      expect(Number.isInteger(key.cell)).toBe(true);
      expect(key.cells * key.perCell).toBeGreaterThanOrEqual(scene.site.head_size);
      expect(key.perCell).toBe(1);
    }
  });
});
