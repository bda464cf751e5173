/** Where x and the projections are not here: why, how large they are, and how to get them. */

import { button, h } from "../../base/dom";
import type { Source } from "../../data/source";
import type { StepTensors } from "../../data/step-tensors";
import { call, opening, placeArguments } from "../../scene/as-python";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";

const mb = (bytes: number) => `${Math.max(0.1, bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const FROM_TENSORS = new Set(["from_qkv", "from_attentions"]);
const KEEP = 'keep={"x", "pre_rotary", "projections"}';

export class MissingTensors {
  readonly element = h("div", { class: "ask", "data-ask": true });
  private built = "";
  private waiting = false;

  constructor(
    private readonly actions: Actions,
    private readonly source: Source,
    private readonly arrived: (given: StepTensors) => void,
  ) {}

  draw(scene: Scene): void {
    const { site, state, meta } = scene;
    const key = `${site.index}.${state.head}.${this.waiting}`;
    if (key === this.built) return;
    this.built = key;
    const begins = h("b", {}, "Here the steps begin at q, k and v.");
    const parts: (HTMLElement | string)[] = [begins];
    const { steps } = site;
    const { lines, given } = opening(meta);
    const where = ['level="steps"', ...placeArguments(state, site.stack)];
    const kept = steps?.kept.some((name) => name === "x" || name.startsWith("w_q"));
    if (FROM_TENSORS.has(meta.model.name)) parts.push(" They were given as they are: there is no x before them.");
    else if (!steps || !kept) {
      parts.push(" This trace did not keep x and the projections. These lines keep them:");
      const kept = given.filter((one) => !one.startsWith("keep="));
      for (const line of [...lines, `trace = ${call("attnscope.trace", [...kept, KEEP])}`, call("trace.show", where)])
        parts.push(h("code", {}, line));
    } else if (this.source.live && this.source.fetchStepTensors) {
      parts.push(` The ${this.source.who ?? "kernel"} has x and the projections of this head: ${mb(steps.bytes)}.`);
      const get = button(
        this.waiting ? "asking …" : `get them (${mb(steps.bytes)})`,
        { class: "tool ask-get", "data-ask-get": true },
        () => this.get(site.index, state.head),
      );
      get.disabled = this.waiting;
      parts.push(get);
    } else {
      const whole = meta.sites.reduce((sum, one) => sum + (one.steps?.all_bytes ?? 0), 0);
      const there = meta.sites.find((one) => one.steps?.heads.length);
      const head = there?.steps?.heads[0];
      parts.push(
        ` To stay small this view holds x and the projections of ${there && head !== undefined ? "one head only" : "no head"}; one head takes ${mb(steps.bytes)}, all heads of all layers ${mb(whole)}. For this head, and for all:`,
      );
      const all = ['steps="all"', `max_mb=${Math.ceil((whole * 4) / 3e6 + 12)}`];
      const views = [where, [...where, ...all]].map((one) => call("attnscope.show", [...given, ...one]));
      for (const line of [...lines, ...views]) parts.push(h("code", {}, line));
      if (there && head !== undefined)
        parts.push(
          button(
            `go to the head that is whole: layer ${there.layer}, head ${head}`,
            { class: "tool ask-get", "data-ask-go": true },
            () => this.actions.go({ stack: there.stack, layer: there.layer, head }),
          ),
        );
    }
    this.element.replaceChildren(...parts);
  }

  private get(site: number, head: number): void {
    this.waiting = true;
    this.source
      .fetchStepTensors?.(site, head)
      .then((given) => {
        this.waiting = false;
        this.built = "";
        this.arrived(given);
      })
      .catch((error) => {
        this.waiting = false;
        this.built = "";
        this.actions.notice(error instanceof Error ? error.message : String(error));
      });
  }
}
