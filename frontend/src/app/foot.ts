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
  private built = "";
  private ramp: unknown = null;
  private readonly swatch = h("i", { class: "swatch" });
  private readonly weightEnd = h("span");
  private readonly ends = new Map<string, HTMLElement>();

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
    const share = tensors.v.length > 0;
    const key = `${signed.map(([name]) => name)} ${share} ${masked} ${tensors.broken > 0}`;
    if (key !== this.built) this.build(signed, share, masked, tensors.broken > 0);
    this.built = key;
    for (const [name, end] of signed) setText(this.ends.get(name) as Element, `\u00a0±${domainEnd(end)}`);
    setText(this.weightEnd, ` 0 … ${domainEnd(weightEnd * 100)} %`);
    if (this.ramp !== scene.ramp) this.swatch.style.backgroundImage = scene.ramp.gradient();
    this.ramp = scene.ramp;
  }

  private build(signed: [string, number][], share: boolean, masked: boolean, broken: boolean): void {
    const legend = (swatch: Element | string, ...text: (Element | string)[]) =>
      h("span", { class: "legend" }, typeof swatch === "string" ? h("i", { class: swatch }) : swatch, ...text);
    const quantity = (name: string) => {
      const end = h("span");
      this.ends.set(name, end);
      return h("span", {}, h("b", {}, name), end);
    };
    const parts: HTMLElement[] = [];
    if (signed.length)
      parts.push(legend(this.swatch, ...signed.map(([name]) => quantity(name))), legend("swatch-notch", "clipped"));
    parts.push(legend("swatch-ink", h("span", {}, h("b", {}, share ? "weight, share" : "weight"), this.weightEnd)));
    if (masked) parts.push(legend("swatch-masked", "masked"));
    if (broken) parts.push(legend("swatch-broken", "NaN or infinite"));
    this.legends.replaceChildren(...parts);
  }

  destroy(): void {
    clearTimeout(this.timer);
  }
}
