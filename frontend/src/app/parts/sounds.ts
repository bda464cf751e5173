/** What was heard: a spectrogram or a waveform along the seconds, where the query is picked, and the weights below it. */

import { h, setAttribute, setText } from "../../base/dom";
import { fixed, percent } from "../../base/format";
import { type Ramp, weightDomain } from "../../base/scale";
import type { Sound } from "../../data/metadata";
import type { Scene } from "../../scene/scene";
import { queryRange } from "../validate-state";
import type { RibbonHost } from "./ribbon";
import { said } from "./said";
import { paintHeard, paintWeights, secondsOf } from "./sound-paint";

type Role = "both" | "query" | "key";

/** One sound. `role`: whether its positions are queries to pick from, keys that carry weight, or both. */
class Strip {
  readonly element: HTMLElement;
  private readonly heard = h("canvas", { "aria-hidden": "true" });
  private readonly weights = h("canvas", { "aria-hidden": "true" });
  private readonly query: HTMLElement;
  private readonly key = h("div", { class: "moment-key", "aria-hidden": "true" });
  private readonly caption = h("span", {});
  private readonly silence = h("span", {});
  private scene: Scene | null = null;
  private ramp: Ramp | null = null;

  constructor(
    private readonly sound: Sound,
    private readonly role: Role,
    private readonly host: RibbonHost,
    id: string,
  ) {
    this.query = h("div", { class: "moment-query", role: "option", id, "aria-selected": "true" });
    const first = this.pane("sound", this.heard, this.query);
    const panes = [first];
    if (role !== "query") panes.push(this.pane("sound-weights", this.weights, this.key));
    const { positions, each } = sound;
    const ticks = secondsOf(positions * each).map((second) => {
      const tick = h("span", {}, `${second} s`);
      tick.style.left = `${(100 * second) / (positions * each)}%`;
      return tick;
    });
    const caption = h("div", { class: "heard-caption" }, this.caption, this.silence);
    this.element = h(
      "div",
      { class: "heard", "data-heard": role },
      ...panes,
      h("div", { class: "seconds", "aria-hidden": "true" }, ...ticks),
      caption,
    );
    first.tabIndex = 0;
    first.setAttribute("role", "listbox");
    first.setAttribute("aria-label", `the sound, ${fixed(positions * each, 2)} s; arrow keys move along it`);
    first.setAttribute("aria-activedescendant", id);
    first.addEventListener("keydown", (event) => this.walk(event));
  }

  private pane(name: "sound" | "sound-weights", ...inside: HTMLElement[]): HTMLElement {
    const pane = h("div", { class: `moments ${name}`, "data-pane": name }, ...inside);
    pane.addEventListener("click", (event) => {
      const token = this.tokenAt(event, pane);
      if (name === "sound") this.choose(token);
      else if (this.scene && token < this.scene.site.keys) this.host.pin(token);
    });
    pane.addEventListener("pointermove", (event) => {
      if (this.scene) this.host.say(said(this.scene, this.role, this.tokenAt(event, pane)));
    });
    return pane;
  }

  private tokenAt(event: MouseEvent, pane: HTMLElement): number {
    const { left, width } = pane.getBoundingClientRect();
    const { positions } = this.sound;
    return Math.max(0, Math.min(positions - 1, Math.floor(((event.clientX - left) / width) * positions)));
  }

  private choose(token: number): void {
    if (this.role === "key") this.host.pin(token);
    else this.host.pickQuery(token);
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const { role, sound } = this;
    const own = role === "key" ? scene.key : scene.query;
    this.mark(this.query, own);
    this.mark(this.key, scene.key);
    setAttribute(this.query, "aria-label", own < sound.positions ? said(scene, role, own) : "no moment of this sound");
    if (this.ramp !== scene.ramp) paintHeard(this.heard, sound, scene.ramp.palette.ink);
    this.ramp = scene.ramp;
    if (role === "query") setText(this.caption, "queries: pick a moment");
    else this.weigh(scene);
  }

  private weigh(scene: Scene): void {
    const { role, sound } = this;
    paintWeights(this.weights, sound.positions, scene);
    const what = role === "both" ? "pick a moment; below, the weight of each" : "below, the weight of each moment";
    setText(this.caption, `${what}, ${weightDomain(scene.weightEnd)}`);
    const { weights } = scene.chain;
    let silent = 0;
    for (let key = sound.positions; key < weights.length; key++) silent += weights[key] || 0;
    const any = weights.length > sound.positions && !scene.pair;
    setText(this.silence, any ? `on the silence behind it: ${percent(silent)}` : "");
  }

  private mark(element: HTMLElement, token: number): void {
    const { positions } = this.sound;
    element.hidden = token >= positions;
    element.style.left = `${(100 * token) / positions}%`;
    element.style.width = `${100 / positions}%`;
  }

  private walk(event: KeyboardEvent): void {
    const { scene, sound } = this;
    if (!scene || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.role === "key" ? scene.key : scene.query;
    const steps: Record<string, number> = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      Home: 0,
      End: sound.positions - 1,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const token = Math.max(0, Math.min(sound.positions - 1, steps[event.key]));
    const [first, last] = queryRange(scene.site);
    if (token !== at && (this.role === "key" || (token >= first && token <= last))) this.choose(token);
  }
}

/** The sounds among the queries and the keys. */
export class Sounds {
  readonly element = h("div", { class: "sounds" });
  private views: Strip[] = [];

  constructor(
    private readonly host: RibbonHost,
    private readonly id: string,
  ) {
    this.element.hidden = true;
  }

  /** Other tokens stand along the axes now. */
  build({ meta, site: { query_tokens: queries, key_tokens: keys } }: Scene): void {
    const of = (table: number, role: Role) => {
      const { sound } = meta.tokens[table];
      return sound ? [new Strip(sound, role, this.host, `${this.id}${role}`)] : [];
    };
    this.views = queries === keys ? of(queries, "both") : [...of(queries, "query"), ...of(keys, "key")];
    this.element.replaceChildren(...this.views.map((one) => one.element));
    this.element.hidden = this.views.length === 0;
  }

  draw(scene: Scene): void {
    for (const one of this.views) one.draw(scene);
  }
}
