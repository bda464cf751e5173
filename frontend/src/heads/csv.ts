/** A table as CSV (RFC 4180): every row, not only those of the page that is shown; numbers as programs read them. */

import { button } from "../base/dom";
import { download } from "../base/download";
import { MINUS } from "../base/format";

export type Value = string | number | null;

export interface Rows {
  caption: string;
  columns: string[];
  rows: number;
  row(i: number): string[];
  /** The same row with its numbers as they are; without it they are read from what `row` writes. */
  values?(i: number): Value[];
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const ISOLATES = /[\u2066-\u2069]/g;

/** A token may begin as a formula does, and spreadsheets run formulas: an apostrophe makes it text there. */
const harmless = (text: string) =>
  /^[=+\-@\t\r]/.test(text) && text.length > 1 && !NUMBER.test(text) ? `'${text}` : text;

/** What only people read as a number: "−0.5" is -0.5, "12.5 %" is 0.125. All else stays as it is: a token may be "007". */
function read(cell: string): Value {
  const text = cell.replace(MINUS, "-");
  const part = text.replace(/ %$/, "");
  if (text === cell && part === text) return cell;
  if (!NUMBER.test(part)) return cell;
  return part === text ? text : Number((Number(part) / 100).toPrecision(12));
}

function written(value: Value): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const text = harmless(value.replace(ISOLATES, ""));
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv({ columns, rows, row, values }: Rows): string {
  const line = (cells: Value[]) => `${cells.map(written).join(",")}\r\n`;
  const lines = [line(columns)];
  for (let i = 0; i < rows; i++) lines.push(line(values?.(i) ?? row(i).map(read)));
  return lines.join("");
}

/** "attnscope-layer-2-head-8-query-it-at-7-every-key.csv" */
export function csvName(caption: string): string {
  const words = caption.replace(ISOLATES, "").match(/[\p{L}\p{N}]+/gu) ?? [];
  return `attnscope-${words.join("-").slice(0, 80)}.csv`;
}

export function csvButton(rows: () => Rows): HTMLButtonElement {
  return button("CSV", { class: "quiet", "data-csv": true, "aria-label": "save this table as CSV" }, () => {
    const table = rows();
    download(new Blob([csv(table)], { type: "text/csv;charset=utf-8" }), csvName(table.caption));
  });
}
