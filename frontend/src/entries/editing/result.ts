/** Predictions before and after, side by side; of a model that predicts nothing, how its last state turned. */

import { h, setText } from "../../base/dom";
import { count, percent } from "../../base/format";
import type { EditAnswer } from "../../data/edits";
import { number } from "../../data/metadata";
import { isolated } from "../../scene/labels";
import { setToken } from "../../scene/token-element";
import type { Band } from "./asking";

const ROWS = 10;
const TASKS = { next: "next token", fill: "token at this place", label: "label", state: "last hidden state" };

const signed = (value: number, digits = 2) =>
  `${value < 0 ? "\u2212" : value > 0 ? "+" : ""}${Math.abs(value).toFixed(digits)}`;
/** A share of 0 to 1, or NaN. */
const width = (part: number) => `${(100 * Math.min(1, Math.max(0, part || 0))).toFixed(1)}%`;

export class Result {
  readonly element = h("div", { class: "edits-result", "aria-live": "off" });
  private readonly heading = h("h3", {});
  private readonly table = h("div", { class: "edits-table", role: "table" });
  private readonly score = h("p", { class: "edits-score", "data-score": true });
  private readonly control = h("p", { class: "edits-control", "data-control": true, role: "status" });
  private answer: EditAnswer | null = null;

  constructor() {
    this.table.setAttribute("aria-label", "before and after");
    this.element.append(this.heading, this.table, this.score, this.control);
  }

  /** `token`: the text's own, by position. */
  show(answer: EditAnswer, token: (position: number) => string): void {
    this.answer = answer;
    const { task, state } = answer;
    setText(this.heading, `${TASKS[task]}: ${state ? "direction and size with the edits" : "before \u2192 after"}`);
    this.table.replaceChildren(...(state ? stateRows(answer, state, token) : predictionRows(answer)));
    setText(this.score, scoreSaid(answer));
    this.score.dataset.value = answer.score.join();
    this.band(null);
  }

  /** The same edits in other heads, as far as they are known; null: not yet. */
  band(band: Band | null): void {
    setText(this.control, this.answer?.edits.length ? controlSaid(this.answer, band) : "");
    this.control.dataset.draws = String(band?.totals.length ?? 0);
    this.control.dataset.value = band?.totals.join() ?? "";
  }

  /** The leading prediction, in a few words. */
  get brief(): string {
    const { answer } = this;
    if (!answer) return "";
    if (answer.state) return `mean state: cosine ${number(answer.score[1]).toFixed(4)}`;
    const first = answer.predictions.find(({ id }) => id === answer.asked[0]?.id);
    if (!first) return "";
    const [before, after] = first.probability.map((one) => percent(number(one)));
    return `${isolated(first.text)} ${before}${answer.edits.length ? ` \u2192 ${after}` : ""}`;
  }
}

function predictionRows({ predictions, edits }: EditAnswer): HTMLElement[] {
  return predictions
    .map((one) => ({ ...one, most: Math.max(...one.probability.map(number)) }))
    .sort((a, b) => b.most - a.most)
    .slice(0, ROWS)
    .map(({ id, text, probability }) => {
      const [before, after] = probability.map(number);
      return row(
        text,
        [percent(before), edits.length ? percent(after) : ""],
        edits.length ? [before, after] : [before],
        { "data-prediction": id, "data-before": before, "data-after": after },
      );
    });
}

/** The tokens that turned most; the bar is the sine, how much of it points elsewhere. */
function stateRows(
  { edits }: EditAnswer,
  { cosine, size }: NonNullable<EditAnswer["state"]>,
  token: (position: number) => string,
): HTMLElement[] {
  if (!edits.length) return [];
  return cosine
    .map((one, position) => ({ position, cosine: number(one), size: number(size[position]) }))
    .sort((a, b) => a.cosine - b.cosine)
    .slice(0, ROWS)
    .map((one) =>
      row(
        token(one.position),
        [`cos ${one.cosine.toFixed(3)}`, `\u00d7 ${one.size.toFixed(3)}`],
        [Math.sqrt(Math.max(0, 1 - one.cosine ** 2))],
        { "data-position": one.position, "data-cosine": one.cosine, "data-size": one.size },
      ),
    );
}

/** A name, a number, bars, a number. */
function row(text: string, [first, last]: string[], shares: number[], data: Record<string, number>): HTMLElement {
  const name = h("bdi", { class: "tok", dir: "auto", role: "rowheader" });
  setToken(name, text);
  const bars = h("span", { class: "edits-bars", "aria-hidden": "true" });
  for (const share of shares) {
    const bar = h("i");
    bar.style.width = width(share);
    bars.append(bar);
  }
  const cell = (said: string) => h("span", { class: "num", role: "cell" }, said);
  return h("div", { class: "edits-row", role: "row", ...data }, name, cell(first), bars, cell(last));
}

function scoreSaid({ measure, asked, score, state, edits }: EditAnswer): string {
  const [before, after] = score.map(number);
  if (state) {
    const [cosine, size] = state.mean.map(number);
    return edits.length
      ? `mean over the tokens: cosine ${cosine.toFixed(4)} with the text as it is, size \u00d7 ${size.toFixed(3)}`
      : "This model predicts nothing: its last hidden state is compared.";
  }
  const [target, against] = asked.map(({ text }) => isolated(text));
  const what = `${measure} of ${target}${against ? ` against ${against}` : ""}`;
  if (!edits.length) return `${what}: ${signed(before)}`;
  return `${what}: ${signed(before)} \u2192 ${signed(after)}; effect ${signed(before - after)}`;
}

function controlSaid({ score, state }: EditAnswer, band: Band | null): string {
  if (band?.draws === 0) return "no control: no other heads are left";
  if (!band?.totals.length) return "no control yet: what the same edit does in other heads";
  const [low, high] = [Math.min(...band.totals), Math.max(...band.totals)];
  const total = number(score[0]) - number(score[1]);
  const inside = total >= low && total <= high;
  let digits = state ? 4 : 2;
  // as many as tell the effect from the end that it is beyond
  const alike = () => [low, high].some((end) => signed(end, digits) === signed(total, digits));
  while (!inside && digits < 8 && alike()) digits++;
  const range = `${signed(low, digits)} to ${signed(high, digits)}`;
  if (band.totals.length < band.draws)
    return `no control yet: ${band.totals.length} of ${band.draws} draws of other heads, so far ${range}`;
  const near = band.reach ? `of the same layers and up to ${band.reach} away` : "of the same layers";
  return `${inside ? "within" : "outside"} the band of ${count(band.draws, "draw")} of other heads ${near}, ${range}; this effect is ${signed(total, digits)}`;
}
