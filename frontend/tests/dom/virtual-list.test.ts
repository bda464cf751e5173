// @vitest-environment happy-dom
import { beforeEach, describe, expect, it, vi } from "vitest";
import { h } from "../../src/base/dom";
import { VirtualList } from "../../src/base/virtual-list";

const HEIGHT = 20;

function list() {
  const body = h("div");
  const filled: number[] = [];
  let made = 0;
  const rows = new VirtualList<{ element: HTMLElement }>(body, HEIGHT, {
    make: () => {
      made++;
      return { element: h("i") };
    },
    fill: (row, index, top) => {
      row.element.dataset.line = String(index);
      row.element.style.top = `${top}px`;
      filled.push(index);
    },
    has: (row, index) => row.element.dataset.line === String(index),
  });
  const drawn = () => [...body.children].map((one) => Number((one as HTMLElement).dataset.line)).sort((a, b) => a - b);
  return { body, rows, drawn, filled, made: () => made };
}

const upTo = (first: number, end: number) => Array.from({ length: end - first }, (_, i) => first + i);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["requestAnimationFrame", "cancelAnimationFrame", "setTimeout", "clearTimeout"] });
  return () => void vi.useRealTimers();
});

describe("a virtual list", () => {
  it("draws a short list whole, wherever one looks", () => {
    const { body, rows, drawn } = list();
    rows.draw(47);
    rows.look(9000, 9400);
    expect(drawn()).toEqual(upTo(0, 47));
    expect(body.style.height).toBe(`${47 * HEIGHT}px`);
  });

  it("draws of a long list what is in sight and three lines on either side, at their places", () => {
    const { body, rows, drawn } = list();
    rows.draw(1009);
    rows.look(101 * HEIGHT, 113 * HEIGHT);
    expect(drawn()).toEqual(upTo(98, 116));
    expect((body.querySelector("[data-line='98']") as HTMLElement).style.top).toBe(`${98 * HEIGHT}px`);
    expect(rows.row(98)?.element.dataset.line).toBe("98");
    expect(rows.row(97)).toBeUndefined();
  });

  it("uses the elements again that went out of sight", () => {
    const { rows, drawn, made } = list();
    rows.draw(1009);
    const before = made();
    rows.look(500 * HEIGHT, 511 * HEIGHT);
    expect(drawn()).toEqual(upTo(497, 514));
    expect(made()).toBe(before);
  });

  it("never draws more than 140 lines, though all of them are in sight", () => {
    const { rows, drawn } = list();
    rows.draw(1009);
    rows.look(0, 1009 * HEIGHT);
    expect(drawn()).toEqual(upTo(0, 140));
  });

  it("stays within its lines when it got shorter", () => {
    const { rows, drawn } = list();
    rows.draw(1009);
    rows.look(900 * HEIGHT, 910 * HEIGHT);
    rows.draw(53);
    expect(drawn()).toEqual([52]);
  });

  it("redraws lines in sight at once, and those out of sight after the frame", () => {
    const { rows, filled } = list();
    rows.draw(47);
    rows.look(0, 11 * HEIGHT); // lines 0 to 13
    filled.length = 0;
    rows.draw(47);
    expect(filled).toEqual(upTo(0, 14));
    vi.runAllTimers();
    expect(new Set(filled)).toEqual(new Set(upTo(0, 47)));
  });
});
