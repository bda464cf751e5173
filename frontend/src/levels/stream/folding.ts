/** Layers that add little stand together in one row, so that the whole way from embedding to prediction is in sight. */

import { type Column, EMPTY, type Line } from "../../heads/stream-column";

const ENOUGH = 26; // rows that need no folding
const LITTLE = 0.1; // of the largest part or block

const size = (line: Line) =>
  Math.max(Math.abs(line.value ?? 0), ...line.parts.map(({ value }) => Math.abs(value ?? 0)));

/** The rows, where runs of at least two quiet layers are one, with the rows of these layers as its parts. */
export function folded(column: Column, whole: boolean): Line[] {
  const { lines, attributed } = column;
  if (whole || !attributed || lines.length <= ENOUGH) return lines;
  const least = LITTLE * Math.max(...lines.map(size));
  const loud = new Set(lines.filter((line) => size(line) >= least).map(({ layer }) => layer));
  const out: Line[] = [];
  for (let i = 0; i < lines.length; ) {
    let end = i;
    while (end < lines.length && lines[end].layer !== null && !loud.has(lines[end].layer)) end++;
    const run = lines.slice(i, end);
    const fold = run.length && run[0].layer !== run[run.length - 1].layer ? together(run) : null;
    if (fold) out.push(fold);
    else out.push(...(run.length ? run : [lines[i]]));
    i = Math.max(end, i + 1);
  }
  return out;
}

function together(run: Line[]): Line {
  const last = run[run.length - 1];
  return {
    ...EMPTY,
    id: `layers-${run[0].layer}-${last.layer}`,
    kind: "fold",
    name: `L${run[0].layer}–L${last.layer}`,
    layer: run[0].layer,
    value: run.reduce((sum, { value }) => sum + (value ?? 0), 0),
    running: last.running,
    stage: last.stage,
    parts: run,
    folded: run.length,
  };
}

/** The rows one below another, each with what is opened of it, and how deep it lies. */
export function unfolded(lines: Line[], opened: ReadonlySet<string>, depth = 1): { line: Line; depth: number }[] {
  return lines.flatMap((line) => {
    const open = opened.has(line.id);
    // the rows of its layers show what a run of layers adds
    const own = open && line.folded ? { ...line, value: null, running: null, stage: null } : line;
    return [{ line: own, depth }, ...(open ? unfolded(line.parts, opened, depth + 1) : [])];
  });
}
