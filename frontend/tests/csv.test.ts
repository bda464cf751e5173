import { describe, expect, it } from "vitest";
import { csv, csvName, type Rows } from "../src/heads/csv";

const table = (columns: string[], rows: string[][], values?: Rows["values"]): Rows => ({
  caption: "",
  columns,
  rows: rows.length,
  row: (i) => rows[i],
  values,
});

/** Reads RFC 4180, one character at a time. */
function parsed(text: string): string[][] {
  const lines: string[][] = [[""]];
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const line = lines[lines.length - 1];
    if (text[i] === '"' && quoted && text[i + 1] === '"') line[line.length - 1] += text[i++];
    else if (text[i] === '"') quoted = !quoted;
    else if (text[i] === "," && !quoted) line.push("");
    else if (text[i] === "\r" && text[i + 1] === "\n" && !quoted) {
      lines.push([""]);
      i++;
    } else line[line.length - 1] += text[i];
  }
  return lines.slice(0, -1);
}

describe("a table as CSV", () => {
  it("holds every row, and any token as it is", () => {
    const words = ["a,b", 'say "so"', "two\nlines", "café 東京 😀", "", "007", "#1"];
    const rows = words.map((word, i) => [String(i), word]);
    expect(parsed(csv(table(["position", "to,ken"], rows)))).toEqual([["position", "to,ken"], ...rows]);
  });

  it("writes numbers as programs read them", () => {
    const [, line] = parsed(csv(table(["a", "b", "c", "d", "e"], [["1", "−0.5", "12.5 %", "masked", "−21.7 %"]])));
    expect(line).toEqual(["1", "-0.5", "0.125", "masked", "-0.217"]);
    const exact = csv(table(["a", "b", "c"], [["1", "<0.1 %", "x"]], () => [7, 3.25e-9, null]));
    expect(parsed(exact)[1].map(Number)).toEqual([7, 3.25e-9, 0]);
    expect(parsed(exact)[1][2]).toBe("");
  });

  it("has no formula in it, whatever the tokens are", () => {
    const words = ["=HYPERLINK(1)", "@SUM", "+1+cmd", "-x", "\tx", "=", "-", "-0.5", "+3"];
    const cells = parsed(
      csv(
        table(
          ["t"],
          words.map((word) => [word]),
        ),
      ),
    )
      .slice(1)
      .flat();
    expect(cells).toEqual(["'=HYPERLINK(1)", "'@SUM", "'+1+cmd", "'-x", "'\tx", "=", "-", "-0.5", "+3"]);
  });

  it("is named by what it shows", () => {
    expect(csvName("Layer 2, head 8, query “it” at 7: every key")).toBe(
      "attnscope-Layer-2-head-8-query-it-at-7-every-key.csv",
    );
    expect(csvName("../../x")).toBe("attnscope-x.csv");
  });
});
