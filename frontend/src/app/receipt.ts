/** The receipt: are these the model's own numbers? In words a student reads. */
import { rechecking } from "../chain";
import { h, whenIdle } from "../dom";
import type { HeadTensors } from "../head";
import { number } from "../payload";
import type { Scene } from "../scene";
import { count, scientific } from "../words";

type Check = { difference: number; rows: number } | null;

export interface Verdict {
  passed: boolean | null;
  mark: "✓" | "✕" | "–";
  short: string;
  paragraphs: string[];
}

export function verdict(scene: Scene, mine: Check | undefined): Verdict {
  const { site, meta } = scene;
  const { receipt } = site;
  const tolerance = number(receipt.tolerance);
  const error = number(receipt.max_error);
  const paragraphs: string[] = [];
  const disagrees = mine != null && !(mine.difference <= Math.max(tolerance, 1e-5));
  if (receipt.status === "weights_only") {
    paragraphs.push(
      "Only the weights of this site were captured. Without its query and key vectors they cannot be computed again, so they are shown as the model gave them.",
    );
    return { passed: null, mark: "–", short: "weights only: nothing to recompute", paragraphs };
  }
  if (receipt.status === "unverified") {
    paragraphs.push(
      `What the model returned for this site is not known, so its numbers could not be checked.${receipt.note ? ` ${receipt.note}` : ""}`,
    );
    return { passed: null, mark: "–", short: "not checked against the model", paragraphs };
  }
  const failed = receipt.status === "failed" || disagrees;
  paragraphs.push(
    `attnscope computed this layer's output again from the vectors shown here and compared it with what the model itself returned: the largest difference is ${scientific(error)} of the largest value, over ${receipt.rows} of ${count(receipt.of, "query row")}. Up to ${scientific(tolerance)} is rounding.`,
  );
  if (mine) {
    paragraphs.push(
      `This browser did the same for head ${scene.state.head}, from the numbers it holds: largest difference ${scientific(mine.difference)} over ${count(mine.rows, "row")}${disagrees ? ", which is more than rounding" : ""}.`,
    );
  }
  if (receipt.no_key_rows)
    paragraphs.push(
      `${count(receipt.no_key_rows, "row")} with no key allowed ${receipt.no_key_rows === 1 ? "is" : "are"} left out of the comparison.`,
    );
  if (meta.receipt)
    paragraphs.push(
      `All layers in this view: ${meta.receipt.passed ? "passed" : "not all passed"}, largest difference ${scientific(number(meta.receipt.max_error))}.`,
    );
  if (receipt.note) paragraphs.push(receipt.note);
  const short = failed
    ? "does not match the model"
    : `checked against the model: largest difference ${scientific(Math.max(error, mine?.difference ?? 0))}`;
  return { passed: !failed, mark: failed ? "✕" : "✓", short, paragraphs };
}

export class ReceiptView {
  readonly summary: HTMLButtonElement;
  readonly panel = h("div", { class: "receipt-panel", id: "receipt-panel" });
  readonly banner = h("div", { class: "banner", role: "alert" });
  private readonly checks = new WeakMap<HeadTensors, { result: Check }>();
  private scene: Scene | null = null;
  private cancel = () => {};

  constructor() {
    this.summary = h("button", {
      type: "button",
      class: "receipt",
      "data-receipt": true,
      "aria-expanded": "false",
      "aria-controls": "receipt-panel",
    });
    this.summary.addEventListener("click", () => {
      this.panel.hidden = !this.panel.hidden;
      this.summary.setAttribute("aria-expanded", String(!this.panel.hidden));
    });
    this.panel.hidden = true;
    this.banner.hidden = true;
  }

  draw(scene: Scene): void {
    const fresh = this.scene?.tensors !== scene.tensors;
    this.scene = scene;
    if (!fresh) return;
    this.show();
    const { tensors } = scene;
    if (this.checks.has(tensors)) return;
    this.cancel();
    // a few milliseconds at a time: whoever walks through the text does not wait for it
    const rows = rechecking(tensors);
    const go = () => {
      const until = performance.now() + 4;
      for (;;) {
        const { done, value } = rows.next();
        if (done) {
          this.checks.set(tensors, { result: value ?? null });
          if (this.scene?.tensors === tensors) this.show();
          return;
        }
        if (performance.now() > until) break;
      }
      this.cancel = whenIdle(go);
    };
    this.cancel = whenIdle(go);
  }

  private show(): void {
    const scene = this.scene as Scene;
    const notes = scene.meta.notes ?? [];
    const known = this.checks.get(scene.tensors);
    const { passed, mark, short, paragraphs } = verdict(scene, known?.result);
    this.summary.dataset.receipt = passed === null ? "none" : passed ? "passed" : "failed";
    if (known) this.summary.dataset.recheck = known.result ? String(known.result.difference) : "none";
    else delete this.summary.dataset.recheck;
    const more = notes.length ? ` · ${count(notes.length, "note")}` : "";
    this.summary.replaceChildren(h("b", { "aria-hidden": "true" }, mark), ` ${short}${more}`);
    this.panel.replaceChildren(...[...paragraphs, ...notes].map((text) => h("p", {}, text)));
    this.banner.hidden = passed !== false;
    this.banner.replaceChildren(
      ...(passed === false
        ? [
            h("b", {}, "✕ These numbers do not match the model. "),
            "What is drawn here, computed again, differs from what the model returned by more than rounding. Do not rely on it; the receipt in the foot has the figures.",
          ]
        : []),
    );
  }

  destroy(): void {
    this.cancel();
  }
}
