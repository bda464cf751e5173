/** The end of the column: what the model predicts here, and which two of it the bars compare. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { explained } from "../../base/explained";
import { percent, precise } from "../../base/format";
import { Roving } from "../../base/roving";
import type { StreamNote } from "../../data/metadata";
import type { Column, Prediction } from "../../heads/stream-column";
import { setToken, tokenElement } from "../../scene/token-element";

export const TASKS: Record<StreamNote["task"], string> = {
  next: "next token",
  fill: "token at this place",
  label: "label",
  "": "",
};

export interface PredictionsHost {
  say(text: string): void;
  choose(target: number, against: number | null): void;
}

interface Row {
  element: HTMLElement;
  choose: HTMLButtonElement;
  other: HTMLButtonElement;
  token: HTMLElement;
  bar: HTMLElement;
  chance: HTMLElement;
  prediction: Prediction | null;
}

export class Predictions {
  readonly element: HTMLElement;
  private readonly list = h("div", { class: "stream-predicted", role: "group" });
  private readonly note = h("p", { class: "stream-hint" });
  private readonly rows: Row[] = [];
  private readonly roving: Roving;
  private column: Column | null = null;

  constructor(
    task: StreamNote["task"],
    private readonly host: PredictionsHost,
  ) {
    this.list.setAttribute("aria-label", TASKS[task]);
    this.roving = new Roving(this.list, () =>
      this.rows
        .filter(({ prediction }) => prediction)
        .map(({ choose, other }) => (other.hidden ? [choose] : [choose, other])),
    );
    this.element = h(
      "section",
      { class: "stream-end", "data-predictions": true },
      h("h3", { class: "stream-heading" }, `prediction: ${TASKS[task]}`),
      this.list,
      this.note,
    );
  }

  draw(column: Column): void {
    this.column = column;
    const { predictions, target, against, attributed } = column;
    while (this.rows.length < predictions.length) this.add();
    this.rows.forEach((row, i) => {
      row.prediction = predictions[i] ?? null;
      row.element.hidden = !row.prediction;
      if (row.prediction) this.fill(row, row.prediction, target, against, attributed && predictions.length > 1);
    });
    const said = attributed && target && against;
    const [right, left] = [target, against].map((one) => tokenElement(one?.text ?? ""));
    const hint = ["Bars to the right push towards ", right, ", bars to the left towards ", left, ". Click another"];
    this.note.replaceChildren(...(said ? [...hint, "; “vs” makes it the one to compare with."] : []));
    this.roving.goTo();
  }

  private add(): void {
    const row: Row = {
      element: h("div", { class: "stream-prediction" }),
      choose: button("", { class: "stream-choose" }, () => row.prediction && this.choose(row.prediction.id)),
      other: button("vs", { class: "stream-vs" }, () => row.prediction && this.compare(row.prediction.id)),
      token: h("bdi", { class: "tok", dir: "auto" }),
      bar: h("i"),
      chance: h("span", { class: "stream-chance" }),
      prediction: null,
    };
    explained(row.other, () => `compare with ${row.prediction?.text}`);
    row.choose.append(row.token, " ", h("span", { class: "stream-share", "aria-hidden": "true" }, row.bar), row.chance);
    row.element.append(row.choose, row.other);
    for (const kind of ["pointerover", "focusin"])
      row.element.addEventListener(kind, () => {
        const { prediction } = row;
        if (prediction)
          this.host.say(
            `${prediction.text}: probability ${percent(prediction.probability)} · logit ${precise(prediction.logit)}`,
          );
      });
    this.rows.push(row);
    this.list.append(row.element);
  }

  private fill(
    row: Row,
    one: Prediction,
    target: Prediction | null,
    against: Prediction | null,
    compares: boolean,
  ): void {
    const part = compares && one === target ? "target" : compares && one === against ? "against" : null;
    setAttribute(row.element, "data-part", part);
    setAttribute(row.element, "data-prediction", String(one.id));
    setAttribute(row.element, "data-value", String(one.probability));
    setAttribute(row.element, "data-logit", String(one.logit));
    setToken(row.token, one.text);
    row.bar.style.width = `${(100 * one.probability).toFixed(2)}%`;
    setText(row.chance, percent(one.probability));
    row.choose.disabled = !compares;
    setAttribute(row.choose, "aria-pressed", compares ? String(part === "target") : null);
    row.other.hidden = !compares;
    setAttribute(row.other, "aria-pressed", String(part === "against"));
    setAttribute(row.other, "aria-label", `vs ${one.text}: compare with it`);
  }

  /** The two change places where the reader chooses the one that is there. */
  private choose(id: number): void {
    const { target, against } = this.column as Column;
    if (id !== target?.id)
      this.host.choose(id, against ? (id === against.id ? (target?.id ?? null) : against.id) : null);
  }

  private compare(id: number): void {
    const { target, against } = this.column as Column;
    if (!target || id === against?.id) return;
    this.host.choose(id === target.id ? (against?.id ?? id) : target.id, id);
  }
}
