/** The steps level: the arithmetic of one query and key written out, from x to the write into the residual stream. */

import { button, h, setText } from "../../base/dom";
import type { Source } from "../../data/source";
import { streamOf } from "../../data/stream";
import { levels } from "../../generated/words.json";
import { QueryDataTable } from "../../heads/query-data-table";
import { isolated, named } from "../../scene/labels";
import type { Actions, Level, LevelEntry, Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { exportSvg } from "./export-svg";
import { MissingTensors } from "./missing-tensors";
import { PairSteps } from "./pair-level";
import { grouped } from "./projections";
import { Running } from "./running";
import { StepView } from "./step-view";
import { stepsOf } from "./steps";
import css from "./style.css";
import { Walk } from "./walk";

export class StepsLevel implements Level {
  readonly name = "steps";
  readonly element = h("div", { class: "steps-level", "data-level": "steps" });
  readonly tools: HTMLElement[];
  readonly keys = "← → along numbers and the running sum · Enter unfolds a number";
  private readonly title = h("p", { class: "steps-title" });
  private readonly steps = h("div", { class: "step-list" });
  /** Steps that this layer does not have: one line, which opens. */
  private readonly absentTitle = h("summary", {});
  private readonly absent = h("details", { class: "steps-absent", "data-absent": true });
  private readonly views = new Map<string, StepView>();
  private readonly running: Running;
  private readonly ask: MissingTensors;
  private readonly figures = new QueryDataTable();
  private readonly figuresTool: HTMLButtonElement;
  private readonly walk: Walk;
  private readonly observer: ResizeObserver;
  private order = "";
  private scene: Scene | null = null;
  private width = 0;

  constructor(
    private readonly actions: Actions,
    _viewport: () => { top: number; bottom: number },
    private readonly source: Source,
  ) {
    this.running = new Running(actions);
    this.ask = new MissingTensors(actions, source, () => this.redraw());
    this.element.append(this.title, this.steps, this.figures.element);
    this.figuresTool = button("data table", { class: "tool", "aria-pressed": "false", "data-tool": "table" }, () =>
      this.toggleFigures(),
    );
    const stops = () => [...this.steps.querySelectorAll<HTMLElement>(":scope > .step:not([data-quiet])")];
    this.walk = new Walk(stops, (text) => actions.say(text));
    this.tools = [this.walk.element, this.figuresTool];
    this.observer = new ResizeObserver(() => {
      const width = this.element.clientWidth;
      if (width === 0 || width === this.width) return;
      this.width = width;
      this.redraw();
    });
    this.observer.observe(this.element);
  }

  draw(scene: Scene): void {
    this.scene = scene;
    this.redraw();
  }

  look(): void {}

  arrive(): void {
    this.walk.leave();
  }

  close(): boolean {
    for (const view of [...this.views.values()].reverse()) if (view.isOpen) return view.close();
    if (this.figures.element.hidden) return false;
    this.toggleFigures();
    return true;
  }

  picture(): Picture | null {
    const { scene } = this;
    return (
      scene &&
      exportSvg(scene, this.source.stepTensors?.(scene.site.index, scene.state.head) ?? null, streamOf(this.source))
    );
  }

  destroy(): void {
    this.walk.pause();
    this.observer.disconnect();
  }

  private redraw(): void {
    const { scene } = this;
    if (!scene) return;
    const { site, state, query, key, queryLabels, keyLabels, pinned } = scene;
    this.width ||= this.element.clientWidth;
    const group = grouped(scene);
    setText(
      this.title,
      `Query ${isolated(named(queryLabels[query]))} at ${query}, ${pinned ? "key" : "its strongest key"} ${isolated(named(keyLabels[key]))} at ${key}. Shapes stand below the symbols; every number that was computed unfolds into its sum.${group ? ` ${group}` : ""}`,
    );
    const given = this.source.stepTensors?.(site.index, state.head) ?? null;
    const steps = stepsOf(scene, given, streamOf(this.source), (dim) => this.actions.set({ dim }));
    const order = steps.map(({ id, absent }) => `${id}${absent ? "-" : ""}`).join();
    const elements = steps.map((step) => {
      let view = this.views.get(step.id);
      if (!view) {
        view = new StepView((text) => this.actions.say(text));
        this.views.set(step.id, view);
      }
      if (step.special === "running") this.running.draw(scene);
      if (step.special === "ask") this.ask.draw(scene);
      const special =
        step.special === "running" ? this.running.element : step.special === "ask" ? this.ask.element : null;
      view.draw(step, scene.ramp, special, this.width);
      return view.element;
    });
    const none = steps.filter((step) => step.absent);
    setText(this.absentTitle, `Not in this layer: ${none.map(({ name }) => name).join(", ")}`);
    if (order !== this.order) {
      const there = elements.filter((_, i) => !steps[i].absent);
      this.absent.replaceChildren(this.absentTitle, ...elements.filter((_, i) => steps[i].absent));
      this.steps.replaceChildren(...there, ...(none.length ? [this.absent] : []));
    }
    this.order = order;
    this.figures.draw(scene, false);
  }

  private toggleFigures(): void {
    if (!this.scene) return;
    const open = this.figures.toggle(this.scene, false);
    this.figuresTool.setAttribute("aria-pressed", String(open));
  }
}

export const stepsLevel: LevelEntry = {
  name: "steps",
  ...levels.steps,
  css,
  make: (actions, viewport, source) => new StepsLevel(actions, viewport, source),
  makePair: (actions) => new PairSteps(actions),
};
