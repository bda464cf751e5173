/** From the head's write to the prediction: the sum of heads, the residual, the MLP, what follows, the final norm, the logits. */

import { count, ranges } from "../../base/format";
import type { StreamTable } from "../../data/stream";
import { type Column, columnOf, type Line } from "../../heads/stream-column";
import type { Scene } from "../../scene/scene";
import { number, quiet, type Scalar, scalar, type Unnamed } from "./step";
import type { Sum } from "./sums";

/** Empty where the trace holds no stream that this head writes into. */
export function toPrediction(scene: Scene, table: StreamTable | null): Unnamed[] {
  const { site, state, query } = scene;
  const kind = site.kind === "cross" ? "cross" : "attention";
  const at = table?.note.blocks.findIndex((block) => block.layer === site.layer && block.kind === kind) ?? -1;
  const other = kind === "attention" ? site.stack !== table?.note.stack : site.query_tokens !== tokensOf(scene, table);
  if (!table || at < 0 || other) return [];
  const row = table.row(query);
  if (row < 0)
    return [
      quiet(
        "heads",
        `What follows the write is held at ${ranges(table.note.positions)}, and not at this query. show(…, level="stream") holds all.`,
      ),
    ];
  const column = columnOf(table, row, state.target, state.against);
  const here = column.lines.findIndex(({ block }) => block === at);
  const line = column.lines[here];
  const behind = column.lines.findIndex(({ kind, layer }) => kind === "mlp" && layer === site.layer);
  const mlp = behind > here ? column.lines[behind] : null;
  const later = column.lines.slice(1 + (mlp ? behind : here));
  const own = [line, ...line.parts].find(({ head }) => head === state.head);
  const bias = hasBias(table, at);
  return [
    {
      id: "heads",
      why: `The layer adds up what its ${count(site.heads, "head")} write${bias ? ", and b_O" : ""}.`,
      formula: ["Σ", { symbol: "write" }, ...(bias ? ["+", { symbol: "b", sub: "O" }] : [])],
      scalars: [...adds(column, "head-adds", own), ...adds(column, "heads-add", line), ...length(line, "heads")],
    },
    {
      id: "residual",
      why: "The sum is added to the residual stream, which holds the embedding and what all earlier blocks wrote.",
      formula: [{ symbol: "x" }, "+ Σ", { symbol: "write" }],
      scalars: [...soFar(column, here), ...turned(line, "residual")],
    },
    ...(mlp ? [mlpStep(column, mlp, behind)] : []),
    ...(later.length ? [laterStep(column, later)] : []),
    {
      id: "norm",
      why: column.attributed
        ? "The last norm divides x by its size. To split the logits, that size is held at the value that it had here."
        : "x after the last layer.",
      scalars: [scalar("last-length", "‖x‖", column.sizes[column.sizes.length - 1])],
    },
    ...(column.target ? [logitsStep(column, table)] : []),
  ];
}

/** Whether the output projection of a block has a bias. */
const hasBias = ({ note }: StreamTable, at: number) =>
  note.parts.some(({ kind, block }) => kind === "bias" && block === at);

function tokensOf({ meta }: Scene, table: StreamTable | null): number | undefined {
  return meta.sites.find(({ stack, kind }) => stack === table?.note.stack && kind === "self")?.query_tokens;
}

/** "Mary − John". */
const pairOf = ({ target, against }: Column) => `${target?.text}${against ? ` − ${against.text}` : ""}`;

function sumOf(column: Column, name: string, lines: Line[]): Sum {
  const terms = lines.map(({ name, value }, at) => ({ name, factors: [], value: value ?? 0, at }));
  const total = terms.reduce((sum, { value }) => sum + value, 0);
  return { formula: `${name} to ${pairOf(column)} = Σ`, heads: [], terms, after: [], total };
}

function adds(column: Column, id: string, line: Line | undefined): Scalar[] {
  if (!line || line.value === null) return [];
  const parts = line.parts.length ? () => sumOf(column, line.name, line.parts) : undefined;
  return [scalar(id, `${line.name} to ${pairOf(column)}`, line.value, parts)];
}

const length = ({ write, name }: Line, id: string): Scalar[] =>
  write === null ? [] : [scalar(`${id}-length`, `‖${name}‖`, write)];

const turned = ({ turn }: Line, id: string): Scalar[] =>
  turn === null || Number.isNaN(turn)
    ? []
    : [{ ...scalar(`${id}-turn`, "x turns by", turn), text: `${number(turn)}°` }];

function soFar(column: Column, at: number): Scalar[] {
  const { running } = column.lines[at];
  if (running === null) return [];
  return [
    scalar(`so-far-${at}`, `so far, ${pairOf(column)}`, running, () =>
      sumOf(column, "x", column.lines.slice(0, at + 1)),
    ),
  ];
}

function mlpStep(column: Column, line: Line, at: number): Unnamed {
  const { stage } = line;
  const size = stage === null ? [] : [scalar("layer-length", `‖x‖ after L${line.layer}`, column.sizes[stage])];
  return {
    id: "mlp",
    why: "The MLP reads x through a norm of its own, token by token, and adds what it writes.",
    formula: [{ symbol: "x" }, "+ MLP(norm(", { symbol: "x" }, "))"],
    scalars: [
      ...adds(column, "mlp-adds", line),
      ...soFar(column, at),
      ...length(line, "mlp"),
      ...turned(line, "mlp"),
      ...size,
    ],
  };
}

function laterStep(column: Column, later: Line[]): Unnamed {
  const line = { ...later[0], name: "what follows", value: column.attributed ? 0 : null, parts: later };
  for (const { value } of later) line.value = line.value === null ? null : line.value + (value ?? 0);
  const blocks = later.filter(({ block }) => block !== null).length;
  const others = blocks < later.length ? "; biases of norms count too" : "";
  return {
    id: "later",
    why: `${blocks ? `${count(blocks, "later block")} read x and add to it in the same way` : "No block follows"}${others}.`,
    scalars: adds(column, "later-add", line),
  };
}

function logitsStep(column: Column, table: StreamTable): Unnamed {
  const { target, against, difference } = column;
  const logit = (one: typeof target, id: string) => (one ? [scalar(id, `logit of ${one.text}`, one.logit)] : []);
  return {
    id: "logits",
    why:
      table.note.refused && !column.attributed
        ? `Nothing is attributed to a logit: ${table.note.refused}.`
        : "W_U turns x into a logit for each word, and the softmax into its probability. The difference of two logits is the sum of what every block added.",
    formula: [{ symbol: "logit" }, "= norm(", { symbol: "x" }, ") ·", { symbol: "W", sub: "U" }],
    scalars: [
      ...logit(target, "target"),
      ...logit(against, "against"),
      scalar(
        "difference",
        pairOf(column),
        difference,
        column.attributed ? () => sumOf(column, "all blocks", column.lines) : undefined,
      ),
      ...(target ? [scalar("probability", `probability of ${target.text}`, target.probability)] : []),
    ],
  };
}
