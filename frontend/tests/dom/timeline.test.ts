// @vitest-environment happy-dom
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Timeline } from "../../src/app/parts/timeline";
import type { Scene } from "../../src/scene/scene";
import { press, sceneAt, source, stage, WORDS } from "./stage";

beforeAll(stage);
beforeEach(() => document.body.replaceChildren());

const N = WORDS.length;
const WROTE = 3; // tokens at the end of the text
const FIRST = N - WROTE;

function shown(query: number, border: number | null = FIRST) {
  const picked: number[] = [];
  const timeline = new Timeline((one) => picked.push(one));
  document.body.append(timeline.element);
  const scene = sceneAt(source());
  const table = scene.meta.tokens[0];
  const own = {
    probability: [...Array(FIRST).fill(null), 0.5, 0.25, 0.125],
    rank: [...Array(FIRST).fill(null), 1, 2, 3],
  };
  const other = WORDS.map((_, i) => (i === FIRST + 1 ? ["beta", 0.5] : null));
  const meta = { ...scene.meta, tokens: [{ ...table, ...own, runner_up: other, border }] };
  const at = (query: number) => timeline.draw({ ...scene, meta, query } as Scene);
  at(query);
  const track = timeline.element.querySelector("[role=slider]") as HTMLElement;
  return { timeline, picked, at, track, said: () => track.getAttribute("aria-valuetext") ?? "" };
}

describe("the answer, token by token", () => {
  it("names the query that wrote a token, its probability, rank and runner-up", () => {
    const { said, track } = shown(FIRST);
    expect(said()).toContain(
      `2 of ${WROTE} · query “${WORDS[FIRST]}” at ${FIRST} wrote “${WORDS[FIRST + 1]}” at ${FIRST + 1}.`,
    );
    expect(said()).toContain("a probability of 25.0 % (rank 2); it gave more to “beta”, with 50.0 %");
    expect(["now", "max"].map((name) => track.getAttribute(`aria-value${name}`))).toEqual(["2", `${WROTE}`]);
    expect(track.querySelector("path")?.getAttribute("d")).toBe("M0 1V0.5h0.8V1zM1 1V0.75h0.8V1zM2 1V0.875h0.8V1z");
  });

  it("goes from one to the next by key, and not beyond the ends", () => {
    const { timeline, picked, track, at } = shown(FIRST);
    expect(timeline.step(1)).toBe(true);
    press(track, "ArrowLeft");
    press(track, "End");
    press(track, "Home");
    expect(picked).toEqual([FIRST + 1, FIRST - 1, FIRST + 1, FIRST - 1]);
    at(FIRST + 1);
    timeline.step(1);
    expect(picked).toHaveLength(4);
  });

  it("is entered at its first token from the prompt, at its last from the last token, which wrote none", () => {
    const { picked, timeline, said, at } = shown(0);
    expect(said()).toContain(`wrote ${WROTE} of these tokens`);
    timeline.step(1);
    at(N - 1);
    timeline.step(-1);
    expect(picked).toEqual([FIRST - 1, N - 2]);
  });

  it("is not there where nothing was written", () => {
    const { timeline } = shown(0, null);
    expect(timeline.element.hidden).toBe(true);
    expect(timeline.step(1)).toBe(false);
  });
});
