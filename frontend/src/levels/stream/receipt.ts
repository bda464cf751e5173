/** The last row of the column: whether the parts are the model's own numbers. */

import { h } from "../../base/dom";
import { count, fixed, scientific } from "../../base/format";
import { number, type StreamReceipt } from "../../data/metadata";
import type { Column } from "../../heads/stream-column";

/** In sentences, the first of which is the sum. */
export function receiptSaid(column: Column, given: StreamReceipt): string[] {
  const { target, against, difference, lines, attributed, receipt } = column;
  const said: string[] = [];
  if (attributed && target) {
    const sum = lines.reduce((total, { value }) => total + (value ?? 0), 0);
    const what = against ? `logit(${target.text}) − logit(${against.text})` : `logit(${target.text})`;
    said.push(`${count(receipt.parts, "part")} add up to ${fixed(sum, 3)}; ${what} is ${fixed(difference, 3)}.`);
  }
  if (receipt.mine !== null && given.sum_error !== null)
    said.push(
      `Largest difference of a sum from its logit: ${scientific(number(given.sum_error))} in Python, ${scientific(receipt.mine)} in this browser.`,
    );
  said.push(
    `The embedding and all that was written, against what the model's final norm received: ${scientific(number(given.stream_error))} of the largest number.`,
  );
  if (given.logit_error !== null)
    said.push(`Logits from that sum, against the model's own: ${scientific(number(given.logit_error))}.`);
  said.push(`Up to ${scientific(number(given.tolerance))} is rounding.`);
  return said;
}

export function receiptRow(column: Column, given: StreamReceipt): HTMLElement {
  const { passed, mine } = column.receipt;
  const [first, ...rest] = receiptSaid(column, given);
  return h(
    "div",
    { class: "stream-receipt", "data-stream-receipt": passed ? "passed" : "failed", "data-value": mine },
    h("b", { "aria-hidden": "true" }, passed ? "✓" : "✕"),
    h("p", {}, h("span", {}, first), " ", rest.join(" ")),
  );
}

export const FAILED =
  "These numbers do not match the model: what was written into the stream, added up, is not what the model computed. Nothing is attributed here; the figures stand below.";
