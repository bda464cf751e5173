/** The foot: the readout, the legends of all scales with their domains, the receipt, the keys that work. */

import { h, setText } from "../../base/dom";
import type { LevelName } from "../../base/state";
import { queryLegends } from "../../scene/legends";
import type { Legend, Level } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import type { ReceiptView } from "./receipt";

const HINT = "Hover over a number, or move to it with the arrow keys, to read its exact value.";
const HINT_TOUCH = "Tap a number to read its exact value.";
const SWATCHES = {
  sign: "swatch swatch-sign",
  ink: "swatch-ink",
  masked: "swatch-masked",
  notch: "swatch-notch",
  broken: "swatch-broken",
};

export class Foot {
  readonly element: HTMLElement;
  readonly readout = h("p", { class: "readout", "data-readout": true });
  private readonly live = h("p", { class: "unseen", "aria-live": "polite", "data-live": true });
  private readonly legends = h("div", { class: "legends", "data-legends": true });
  private readonly keys = h("span", { class: "keys", "data-keys": true });
  private timer: ReturnType<typeof setTimeout> | undefined;
  private level: LevelName | null = null;
  private built = "";
  private swatches: unknown[] = [];
  private domains: HTMLElement[] = [];

  constructor(receipt: ReceiptView) {
    this.element = h(
      "footer",
      { class: "foot" },
      receipt.panel,
      h(
        "div",
        { class: "foot-line" },
        this.readout,
        receipt.summary,
        h("span", { class: "break" }),
        this.legends,
        this.keys,
      ),
      this.live,
    );
  }

  /** At once for the eye; a moment later, and only the last, for the ear. */
  say(text: string): void {
    setText(this.readout, text);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => setText(this.live, text), 400);
  }

  draw(scene: Scene, level: Level): void {
    // a number of another level would be read as one of this
    if (level.name !== this.level) setText(this.readout, matchMedia("(hover: none)").matches ? HINT_TOUCH : HINT);
    this.level = level.name;
    const legends = level.legends?.(scene) ?? queryLegends(scene);
    const shape = legends
      .map(({ swatch, said }) => `${typeof swatch === "string" ? swatch : "own"}:${said.map(([name]) => name)}`)
      .join(";");
    const swatches = legends.map(({ swatch }) => swatch);
    if (shape !== this.built || swatches.some((swatch, i) => swatch !== this.swatches[i])) this.build(legends);
    this.built = shape;
    this.swatches = swatches;
    legends
      .flatMap(({ said }) => said)
      .forEach(([name, domain], i) => {
        setText(this.domains[i], name ? `\u00a0${domain}` : domain);
      });
  }

  /** `out`: what Escape does here, in words. */
  sayKeys(own: string | undefined, inward: boolean, out: string | null): void {
    const parts = [own, inward && "Enter goes in", out && `Esc ${out}`, "? help"];
    setText(this.keys, parts.filter(Boolean).join(" · "));
  }

  private build(legends: Legend[]): void {
    this.domains = [];
    const parts = legends.map(({ swatch, said }) => {
      const mark = typeof swatch === "string" ? h("i", { class: SWATCHES[swatch] }) : swatch;
      const quantities = said.map(([name]) => {
        const domain = h("span");
        this.domains.push(domain);
        return h("span", {}, name && h("b", {}, name), domain);
      });
      return h("span", { class: "legend" }, mark, ...quantities);
    });
    this.legends.replaceChildren(...parts);
  }

  destroy(): void {
    clearTimeout(this.timer);
  }
}
