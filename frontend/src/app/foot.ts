/** The foot: the readout, the legends of all scales with their domains, the receipt, the keys that work. */
import { h, setText } from "../dom";
import type { Scene } from "../scene";
import { domainEnd } from "../words";
import type { ReceiptView } from "./receipt";

const HINT = "Point at a cell, or walk to it with the arrow keys: its number is said here.";

export class Foot {
  readonly element: HTMLElement;
  private readonly readout = h("p", { class: "readout", "data-readout": true });
  private readonly live = h("p", { class: "unseen", "aria-live": "polite", "data-live": true });
  private readonly legends = h("div", { class: "legends", "data-legends": true });
  private timer: ReturnType<typeof setTimeout> | undefined;
  private shown = "";

  constructor(receipt: ReceiptView) {
    this.readout.textContent = HINT;
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
        h("span", { class: "keys" }, "↑ ↓ ← → move · Enter pins · Esc unpins"),
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

  draw(scene: Scene): void {
    const { domains, site, scoreEnd, weightEnd, zEnd, tensors, chain } = scene;
    const signed: [string, number][] = site.weights_only
      ? []
      : [
          ["q", domains.q],
          ["k", domains.k],
          ["q × k", domains.product],
          ["score", scoreEnd],
        ];
    if (tensors.v.length) signed.push(["v", domains.v], ["z", zEnd]);
    const masked = chain.allowed?.includes(0) ?? false;
    const key = JSON.stringify([signed, weightEnd, masked, tensors.broken > 0]);
    if (key === this.shown && this.legends.dataset.ramp === scene.ramp.palette.zero) return;
    this.shown = key;
    this.legends.dataset.ramp = scene.ramp.palette.zero;
    const swatch = h("i", { class: "swatch" });
    swatch.style.backgroundImage = scene.ramp.gradient();
    const parts: HTMLElement[] = [];
    if (signed.length) {
      parts.push(
        h(
          "span",
          { class: "legend" },
          swatch,
          ...signed.flatMap(([name, end]) => [h("span", {}, h("b", {}, name), `\u00a0±${domainEnd(end)}`)]),
        ),
      );
      parts.push(h("span", { class: "legend" }, h("i", { class: "swatch-notch" }), "clipped"));
    }
    parts.push(
      h(
        "span",
        { class: "legend" },
        h("i", { class: "swatch-ink" }),
        h("span", {}, h("b", {}, "weight, share"), ` 0 … ${weightEnd * 100} %`),
      ),
    );
    if (masked) parts.push(h("span", { class: "legend" }, h("i", { class: "swatch-masked" }), "masked"));
    if (tensors.broken)
      parts.push(h("span", { class: "legend" }, h("i", { class: "swatch-broken" }), "NaN or infinite"));
    this.legends.replaceChildren(...parts);
  }

  destroy(): void {
    clearTimeout(this.timer);
  }
}
