// @vitest-environment happy-dom
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Dock, DockMemory } from "../../src/app/view";
import type { State } from "../../src/base/state";
import type { BandPiece, EditAnswer, EditQuestion } from "../../src/data/edits";
import { makeDock } from "../../src/entries/editing/dock";
import { sceneAt, source, stage } from "./stage";

beforeAll(stage);
beforeEach(() => void vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** A model of which each edit takes a tenth of the leading prediction. */
const answer = (question: EditQuestion): EditAnswer => ({
  edits: question.edits,
  task: "next",
  measure: "logit difference",
  asked: [
    { id: 5, text: "mat" },
    { id: 7, text: "sofa" },
  ],
  score: [2, 2 - question.edits.length],
  kl: 0.1,
  predictions: [
    { id: 5, text: "mat", probability: [0.6, 0.6 - question.edits.length / 10] },
    { id: 7, text: "sofa", probability: [0.2, 0.3] },
  ],
  state: null,
});

class Desk {
  asked: EditQuestion[] = [];
  state: Partial<State> = { edits: [], layer: 1, head: 1, query: 4, key: 2 };
  fails: string | null = null;
  totals = [0.5, -0.25, 1.5];
  draws = 3;
  readonly dock: Dock;
  private readonly of = source();

  constructor(
    side: "a" | "b" | "difference" | null = null,
    memory: DockMemory = { open: false, histories: {} },
    edits: string[] = [],
  ) {
    this.state.edits = edits;
    this.dock = makeDock({
      side,
      memory,
      ask: async (question) => {
        this.asked.push(question);
        if (this.fails) throw new Error(this.fails);
        const { first } = question;
        if (first === undefined) return answer(question);
        return { totals: this.totals.slice(first, first + 2), draws: this.draws, reach: 0 } satisfies BandPiece;
      },
      set: (change) => {
        this.state = { ...this.state, ...change };
        this.draw();
      },
    });
    document.body.replaceChildren(this.dock.element);
    this.draw();
  }

  draw(): void {
    this.dock.draw(sceneAt(this.of, this.state));
  }

  find = (selector: string) => this.dock.element.querySelector<HTMLElement>(selector) as HTMLElement;
  press = (edit: string) => this.find(`[data-edit="${edit}"]`).click();
  type(edit: string, value: string, kind = "change"): void {
    const field = this.find(`[data-edit="${edit}"]`) as HTMLInputElement;
    field.value = value;
    field.dispatchEvent(new Event(kind, { bubbles: true }));
  }
  settle = () => vi.advanceTimersByTimeAsync(2000);
  get edits() {
    return this.state.edits;
  }
}

describe("the dock", () => {
  it("asks for nothing before it is opened or something is edited", async () => {
    const desk = new Desk();
    await desk.settle();
    expect(desk.dock.element.hidden).toBe(true);
    expect(desk.asked).toEqual([]);
    desk.dock.opener.click();
    await desk.settle();
    expect(desk.asked).toEqual([{ edits: [], target: null, against: null }]);
    expect(desk.find("[data-score]").textContent).toContain("logit difference of mat against sofa: +2.00");
    expect(desk.find("[data-control]").textContent).toBe("");
  });

  it("shows predictions before and after, and the band when it has come", async () => {
    const desk = new Desk();
    desk.dock.opener.click();
    desk.press("off");
    await vi.advanceTimersByTimeAsync(0);
    expect(desk.edits).toEqual(["off_L1H1"]);
    const row = desk.find('[data-prediction="5"]');
    expect([row.dataset.before, row.dataset.after]).toEqual(["0.6", "0.5"]);
    expect(desk.find("[data-score]").textContent).toContain("+2.00 → +1.00; effect +1.00");
    expect(desk.find("[data-control]").textContent).toContain("no control yet");
    expect(desk.find("[data-brief]").textContent).toBe("mat 60.0 % → 50.0 %");
    await desk.settle();
    expect(desk.asked.map(({ first }) => first)).toEqual([undefined, undefined, 0, 2]);
    expect(desk.find("[data-control]").textContent).toContain("within the band of 3 draws");
    expect(desk.find("[data-control]").dataset.value).toBe("0.5,-0.25,1.5");
  });

  it("leaves the band for a newer edit", async () => {
    const desk = new Desk();
    desk.state.edits = ["off_L0H0"];
    desk.draw();
    await vi.advanceTimersByTimeAsync(100);
    desk.state.edits = ["off_L0H1"];
    desk.draw();
    await desk.settle();
    expect(desk.asked.map(({ edits, first }) => [edits[0], first])).toEqual([
      ["off_L0H0", undefined],
      ["off_L0H1", undefined],
      ["off_L0H1", 0],
      ["off_L0H1", 2],
    ]);
  });

  it("writes as many digits as tell the effect from the end of the band", async () => {
    const desk = new Desk(null, undefined, ["off_L0H0"]);
    desk.totals = [0.5, -0.25, 0.9987];
    await desk.settle();
    expect(desk.find("[data-control]").textContent).toMatch(/outside the band.*−0\.250 to \+0\.999; .*\+1\.000$/);
  });

  it("says where no other heads are left for a band", async () => {
    const desk = new Desk(null, undefined, ["off_L0H0"]);
    desk.draws = 0;
    desk.totals = [];
    await desk.settle();
    expect(desk.find("[data-control]").textContent).toBe("no control: no other heads are left");
  });

  it("undoes, does again, and takes everything away", async () => {
    const desk = new Desk();
    desk.dock.opener.click();
    desk.press("off");
    desk.press("cut");
    expect(desk.edits).toEqual(["off_L1H1", "cut_L1H1_q4_k2"]);
    desk.press("undo");
    expect(desk.edits).toEqual(["off_L1H1"]);
    desk.press("undo");
    expect(desk.edits).toEqual([]);
    expect((desk.find('[data-edit="undo"]') as HTMLButtonElement).disabled).toBe(true);
    desk.press("redo");
    desk.press("redo");
    expect(desk.edits).toEqual(["off_L1H1", "cut_L1H1_q4_k2"]);
    desk.press("reset");
    expect(desk.edits).toEqual([]);
    desk.press("undo");
    expect(desk.edits).toEqual(["off_L1H1", "cut_L1H1_q4_k2"]);
    desk.find("[data-edit-on] button").click();
    expect(desk.edits).toEqual(["cut_L1H1_q4_k2"]);
    expect(desk.find("[data-edit-on] bdi").textContent).toContain("cut");
  });

  it("keeps a history for each text of a comparison, and stays open", () => {
    const memory: DockMemory = { open: false, histories: {} };
    const a = new Desk("a", memory);
    a.dock.opener.click();
    a.press("off");
    a.press("cut");
    const b = new Desk("b", memory);
    expect(b.find(".edits-body").hidden).toBe(false);
    expect((b.find('[data-edit="undo"]') as HTMLButtonElement).disabled).toBe(true);
    b.press("patch");
    const difference = new Desk("difference", memory, ["off_L1H1", "cut_L1H1_q4_k2"]);
    difference.press("undo");
    expect(difference.edits).toEqual(["off_L1H1"]);
    const again = new Desk("b", memory, ["patch_L1H1"]);
    again.press("undo");
    expect(again.edits).toEqual([]);
  });

  it("takes a drag for one edit", () => {
    const desk = new Desk();
    desk.dock.opener.click();
    for (const value of ["100", "250", "400"]) desk.type("slider", value, "input");
    desk.type("slider", "400");
    expect(desk.edits).toEqual(["weights_L1H1_q4_k2_x0.4"]);
    desk.type("slider", "800", "input");
    expect(desk.edits).toEqual(["weights_L1H1_q4_k2_x0.8"]);
    desk.press("undo");
    expect(desk.edits).toEqual(["weights_L1H1_q4_k2_x0.4"]);
    desk.press("undo");
    expect(desk.edits).toEqual([]);
  });

  it("takes numbers, and one edit in the place of another of the same thing", () => {
    const desk = new Desk();
    desk.dock.opener.click();
    desk.type("weight", "35.5");
    expect(desk.edits).toEqual(["weights_L1H1_q4_k2_x0.355"]);
    desk.press("cut");
    expect(desk.edits).toEqual(["cut_L1H1_q4_k2"]);
    desk.type("factor", "0.5");
    desk.press("off");
    expect(desk.edits).toEqual(["cut_L1H1_q4_k2", "off_L1H1"]);
    desk.type("factor", "1");
    expect(desk.edits).toEqual(["cut_L1H1_q4_k2"]);
    desk.type("weight", "135");
    expect(desk.edits).toEqual(["cut_L1H1_q4_k2"]);
  });

  it("says what was refused, and goes on", async () => {
    const desk = new Desk();
    desk.fails = "there is no layer 9 to edit";
    desk.state.edits = ["off_L9H0"];
    desk.draw();
    await desk.settle();
    const wrong = desk.find("[data-edits-wrong]");
    expect([wrong.hidden, wrong.textContent]).toEqual([false, "There is no layer 9 to edit"]);
    expect(desk.find("[data-score]").textContent).toBe("");
    desk.fails = null;
    desk.state.edits = ["off_L0H0"];
    desk.draw();
    await desk.settle();
    expect(wrong.hidden).toBe(true);
  });

  it("marks the thumbnails of edited heads, and switches the one that is looked at", () => {
    const desk = new Desk();
    const { heads } = desk.dock;
    document.body.append(heads.element);
    const places = [0, 1].map((head) => ({ stack: null, layer: 1, head, x: 50 * head, y: 0 }));
    heads.lay(places, 48);
    const marked = () =>
      [...heads.element.querySelectorAll<HTMLElement>("[data-edited]")].map(({ dataset }) => dataset.head);
    const other = heads.element.querySelector<HTMLButtonElement>("[data-switch]") as HTMLButtonElement;
    expect(other.hidden).toBe(true);
    heads.look(places[0]);
    expect([other.hidden, other.textContent]).toEqual([false, "off"]);
    other.click();
    expect([desk.edits, marked(), other.textContent]).toEqual([["off_L1H0"], ["0"], "on"]);
    expect([heads.said(places[0]), heads.said(places[1])]).toEqual([", off", ""]);
    heads.toggle(places[0]);
    expect([desk.edits, marked()]).toEqual([[], []]);
    heads.shows(places[1]);
    heads.button.click();
    expect(desk.edits).toEqual(["off_L1H1"]);
    heads.lay(places, 30);
    heads.look(places[1]);
    expect(other.hidden).toBe(true);
  });
});
