/** The receipt: are these the model's own numbers? In words a student reads. */

import { h, whenIdle } from "../../base/dom";
import { count, scientific } from "../../base/format";
import { type Recheck, rechecking } from "../../chain/chain";
import type { HeadTensors } from "../../data/head-tensors";
import { type Metadata, number, type Site } from "../../data/metadata";
import type { Scene } from "../../scene/scene";

type Check = Recheck | null;

export interface Verdict {
  /** flagged: it agrees as far as there are numbers to compare; the rest is NaN in the model itself. */
  status: "passed" | "failed" | "flagged" | "none";
  mark: "✓" | "✕" | "!" | "–";
  short: string;
  paragraphs: string[];
}

const OWN_NAN = "the model itself gave NaN here";

const sentence = (text: string) => (text ? `${text[0].toUpperCase()}${text.slice(1)}.`.replace(/\.\.$/, ".") : "");

/** Whether what the heads write adds up to what the model's output projection returned. */
function writes({ receipt, norms, no_projection: reason }: Site): string {
  if (reason) return `What the heads write is not shown, and W_O is not claimed: ${reason}.`;
  if (norms !== "output")
    return "No output projection takes this layer's output as it is, so W_O is not claimed, and what the heads write is not shown.";
  if (receipt.write_error == null)
    return "W_O is known, but not what the model's output projection returned, so what the heads write was not checked.";
  const error = scientific(number(receipt.write_error));
  const rounding =
    receipt.write_tolerance == null ? "" : ` Up to ${scientific(number(receipt.write_tolerance))} is rounding.`;
  return `What the heads write (z · W_O), added up with b_O, was compared with what the model's output projection returned: the largest difference is ${error} of the largest value.${rounding}`;
}

export function verdict(scene: Pick<Scene, "site" | "meta" | "state">, mine: Check | undefined): Verdict {
  const { site, meta } = scene;
  const { receipt } = site;
  const tolerance = number(receipt.tolerance);
  const error = number(receipt.max_error);
  const note = sentence(receipt.note);
  if (receipt.status === "weights_only") {
    const text =
      "Only the weights of this site were captured. Without its query and key vectors they cannot be computed again, so they are shown as the model gave them.";
    return { status: "none", mark: "–", short: "weights only: nothing to recompute", paragraphs: [text] };
  }
  // rows that were looked at and held no number at all are the model's own NaN; without rows nothing is known
  const flagged = (mine?.broken ?? 0) > 0 || /own output has NaN/.test(receipt.note);
  if (receipt.status === "unverified" && !(flagged && !mine?.parted)) {
    const text = `What the model returned for this site is not known, so its numbers could not be checked.${note && ` ${note}`}`;
    return { status: "none", mark: "–", short: "not checked against the model", paragraphs: [text] };
  }
  const beyond = mine != null && !(mine.difference <= Math.max(tolerance, 1e-5));
  const disagrees = mine != null && (beyond || mine.parted > 0);
  const failed = receipt.status === "failed" || disagrees;
  const over = `over ${receipt.rows} of ${count(receipt.of, "query row")}`;
  const compared =
    "attnscope computed this layer's output again from the vectors shown here and compared it with what the model itself returned";
  const paragraphs: string[] = [];
  if (receipt.status === "unverified")
    paragraphs.push(`${compared}, ${over}: the model's output holds no finite number, so there is nothing to compare.`);
  else if (receipt.status === "failed" && !(error > tolerance) && /NaN/.test(receipt.note))
    paragraphs.push(
      `${compared}, ${over}: NaN or infinite values stand in one of the two where the other has a number.`,
    );
  else
    paragraphs.push(
      `${compared}: the largest difference in this layer is ${scientific(error)} of the largest value, ${over}. Up to ${scientific(tolerance)} is rounding.`,
    );
  if (receipt.status !== "unverified") paragraphs.push(writes(site));
  if (mine) {
    const found: string[] = [];
    if (mine.parted)
      found.push(`${count(mine.parted, "number")} of its output are NaN or infinite in one of the two only`);
    if (beyond || !mine.parted)
      found.push(
        `largest difference ${scientific(mine.difference)}${mine.broken ? " where the model gave a number" : ""}, ${count(mine.rows, "row")}${beyond ? ", which is more than rounding" : ""}`,
      );
    paragraphs.push(
      `This browser did the same for head ${scene.state.head}, from the numbers it holds: ${found.join("; ")}.`,
    );
  }
  if (meta.receipt)
    paragraphs.push(
      `All layers in this view: ${meta.receipt.passed ? "passed" : "not all passed"}, largest difference ${scientific(number(meta.receipt.max_error))}.`,
    );
  if (receipt.no_key_rows)
    paragraphs.push(
      `${count(receipt.no_key_rows, "row")} with no key allowed ${receipt.no_key_rows === 1 ? "is" : "are"} left out of the comparison.`,
    );
  if (note) paragraphs.push(note);
  if (failed) return { status: "failed", mark: "✕", short: "does not match the model", paragraphs };
  if (flagged) return { status: "flagged", mark: "!", short: OWN_NAN, paragraphs };
  const short = `checked against the model: largest difference in this layer ${scientific(error)}`;
  return { status: "passed", mark: "✓", short, paragraphs };
}

/** What is checked: the head that is shown, or in a comparison that head of both traces. */
function sidesOf({
  pair,
  meta,
  site,
  tensors,
}: Scene): { name: string; meta: Metadata; site: Site; tensors: HeadTensors }[] {
  if (!pair) return [{ name: "", meta, site, tensors }];
  return [pair.a, pair.b].map((side) => ({ ...side, site: side.tensors.site }));
}

const WORST: Verdict["status"][] = ["failed", "flagged", "none", "passed"];

function together(sides: (Verdict & { name: string })[]): Verdict {
  if (sides.length === 1) return sides[0];
  const status = WORST.find((one) => sides.some((side) => side.status === one)) as Verdict["status"];
  const worst = sides.find((side) => side.status === status) as Verdict;
  const said = (text: string) =>
    text.replace("checked against the model: largest difference in this layer", "checked, largest difference");
  return {
    status,
    mark: worst.mark,
    short: sides.map(({ name, mark, short }) => `${name} ${mark} ${said(short)}`).join(" · "),
    paragraphs: sides.flatMap(({ name, paragraphs }) => paragraphs.map((text) => `${name}: ${text}`)),
  };
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
    this.cancel();
    this.check(scene);
  }

  /** Of a comparison both sides, one after the other. */
  private check(scene: Scene): void {
    const tensors = sidesOf(scene)
      .map((side) => side.tensors)
      .find((one) => !this.checks.has(one));
    if (!tensors) return;
    // a few milliseconds at a time, so that moving through the text does not wait for it
    const rows = rechecking(tensors);
    const go = () => {
      const until = performance.now() + 4;
      for (;;) {
        const { done, value } = rows.next();
        if (done) {
          this.checks.set(tensors, { result: value ?? null });
          if (this.scene?.tensors !== scene.tensors) return;
          this.show();
          this.check(scene);
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
    const sides = sidesOf(scene);
    const known = this.checks.get(sides[0].tensors);
    const { status, mark, short, paragraphs } = together(
      sides.map((side) => ({
        name: side.name,
        ...verdict({ ...side, state: scene.state }, this.checks.get(side.tensors)?.result),
      })),
    );
    this.summary.dataset.receipt = status;
    if (known) this.summary.dataset.recheck = known.result ? String(known.result.difference) : "none";
    else delete this.summary.dataset.recheck;
    this.summary.replaceChildren(
      ...(sides.length > 1 ? [short] : [h("b", { "aria-hidden": "true" }, mark), ` ${short}`]),
    );
    this.panel.replaceChildren(...[...paragraphs, ...notes].map((text) => h("p", {}, text)));
    const failed = status === "failed";
    this.banner.hidden = !failed;
    this.banner.replaceChildren(
      ...(failed
        ? [
            h("b", {}, "✕ These numbers do not match the model. "),
            "What is drawn here, computed again, differs from what the model returned by more than rounding. Do not rely on it; the receipt in the foot has the figures.",
          ]
        : []),
    );
  }

  /** True when it was open. */
  close(): boolean {
    if (this.panel.hidden) return false;
    this.panel.hidden = true;
    this.summary.setAttribute("aria-expanded", "false");
    return true;
  }

  destroy(): void {
    this.cancel();
  }
}
