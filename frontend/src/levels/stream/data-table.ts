/** The column as a plain table: a row for every part; where nothing is attributed, for every block. And the lens grid as one. */

import { fixed, percent } from "../../base/format";
import type { StreamTable } from "../../data/stream";
import type { Rows } from "../../heads/csv";
import type { Column, Line } from "../../heads/stream-column";
import { shown } from "../../heads/target-names";
import { inLine, type Label } from "../../scene/labels";
import { stageName } from "./sentence";

const blank = (value: number | null, digits: number) => (value === null ? "" : fixed(value, digits));

export function tableOf(column: Column, where: string): Rows {
  const { target, against, attributed, lens, lensText, sizes } = column;
  // a block that is the sum of several parts stands before them
  const rows: [Line, Line | null][] = column.lines.flatMap((line): [Line, Line | null][] => [
    [line, null],
    ...line.parts.map((part): [Line, Line | null] => [part, line]),
  ]);
  const pair = against ? `${target?.text} − ${against.text}` : `${target?.text}`;
  const after = ({ stage }: Line) => stage !== null && stage < lens.length;
  const columns = [
    "part",
    "part of",
    ...(attributed ? [`adds to ${pair}`, "sum so far"] : []),
    "turn (°)",
    "‖write‖",
    "‖x‖ after",
    ...(lens.length ? ["lens", "probability"] : []),
  ];
  return {
    caption: `The stream at ${where}, from the embedding to the prediction`,
    columns,
    rows: rows.length,
    row: (i) => {
      const [line, of] = rows[i];
      return [
        line.name,
        of?.name ?? "",
        ...(attributed ? [blank(line.value, 4), blank(line.running, 4)] : []),
        blank(line.turn, 2),
        blank(line.write, 4),
        line.stage === null ? "" : fixed(sizes[line.stage], 4),
        ...(lens.length
          ? after(line)
            ? [lensText[line.stage as number], percent(lens[line.stage as number])]
            : ["", ""]
          : []),
      ];
    },
    values: (i) => {
      const [line, of] = rows[i];
      return [
        line.name,
        of?.name ?? "",
        ...(attributed ? [line.value, line.running] : []),
        line.turn,
        line.write,
        line.stage === null ? null : sizes[line.stage],
        ...(lens.length
          ? after(line)
            ? [lensText[line.stage as number], lens[line.stage as number]]
            : [null, null]
          : []),
      ];
    },
  };
}

/** The lens grid: a row for every position after every layer. */
export function tableOfLens(table: StreamTable, labels: Label[]): Rows {
  const { note } = table;
  const stages = note.layers + 1;
  const at = (i: number) => {
    const [row, stage] = [Math.floor(i / stages), i % stages];
    const position = note.positions[row];
    const names = [inLine(labels[position]), stageName(stage), shown(note.lens_text[row][stage])] as const;
    return { position, names, probability: table.lens(row)[stage] };
  };
  return {
    caption: "The lens at each position, from the embedding to the last layer",
    columns: ["position", "token", "after", "lens", "probability"],
    rows: note.positions.length * stages,
    row: (i) => {
      const { position, names, probability } = at(i);
      return [String(position), ...names, percent(probability)];
    },
    values: (i) => {
      const { position, names, probability } = at(i);
      return [position, ...names, probability];
    },
  };
}
