/** From x to q, k and v: the projections, a norm and rotary embedding, each where the model has it. */

import { count } from "../../base/format";
import { nice } from "../../base/scale";
import type { Letter, StepTensors } from "../../data/step-tensors";
import type { Scene } from "../../scene/scene";
import { affine, normed, single } from "./derivations";
import type { Piece } from "./formula";
import { absent, keyName, number, one, queryName, quiet, type Unnamed } from "./step";
import { type Sum, turned, turns } from "./sums";

/** Query and key heads, named where they are grouped. */
export function grouped({ site, state }: Scene): string | null {
  const { heads, kv_heads } = site;
  if (heads === kv_heads) return null;
  const size = heads / kv_heads;
  const group = Math.floor(state.head / size);
  const who = size === 1 ? "" : ` (heads ${group * size}–${group * size + size - 1} share it)`;
  return `Query head ${state.head} reads key/value head ${group} of ${kv_heads}${who}.`;
}

/** Where the head's part of the weights stands in the model. */
function place(scene: Scene, letter: Letter): string {
  const note = scene.site.steps?.projections[letter];
  if (!note?.path) return "";
  const { heads, kv_heads, head_size, value_size } = scene.site;
  const head = letter === "q" ? scene.state.head : Math.floor(scene.state.head / (heads / kv_heads));
  const size = letter === "v" ? value_size : head_size;
  const first = note.first + head * note.head_step;
  return `W_${letter}: ${note.flipped ? "columns" : "rows"} ${first}–${first + (size - 1) * note.size_step} of ${note.path}.weight`;
}

export function toQuery(scene: Scene, given: StepTensors | null): Unnamed[] {
  const { site, q, domains } = scene;
  const D = site.head_size;
  const M = given?.width ?? 0;
  const x = given?.ofQuery(scene.row) ?? null;
  const made = affine(scene, given, "q");
  const steps: Unnamed[] = [];
  steps.push(
    x
      ? {
          id: "x",
          why: `What the layer is given for ${queryName(scene)} at position ${scene.query}.`,
          formula: [{ symbol: "x", shape: [M] }],
          vectors: [{ id: "x", symbol: "x", values: x, domain: one(x) }],
        }
      : { id: "x", why: "", special: "ask" },
  );
  steps.push(...chainTo("q", scene, given, made, q, domains.q, D, M));
  return steps;
}

export function toKey(scene: Scene, given: StepTensors | null): Unnamed[] {
  const { site, key, domains, tensors } = scene;
  const M = given?.width ?? 0;
  const x = given?.ofKey(key) ?? null;
  const k = affine(scene, given, "k");
  const steps = chainTo("k", scene, given, k, tensors.key(key), domains.k, site.head_size, M);
  if (x && (key !== scene.query || given?.xKeys))
    steps[0].vectors = [
      { id: "x_key", symbol: "x", note: `of ${keyName(scene)}`, values: x, domain: one(x) },
      ...(steps[0].vectors ?? []),
    ];
  if (tensors.v.length) {
    const v = tensors.value(key);
    const made = affine(scene, given, "v");
    steps.push({
      id: "values",
      why: `What ${keyName(scene)} passes on when it is attended to.`,
      place: made ? place(scene, "v") : undefined,
      formula: made ? lineOf("v", given, site.value_size, M) : [{ symbol: "v", shape: [site.value_size] }],
      vectors: [{ id: "v", symbol: "v", values: v, domain: domains.v, expand: made ?? undefined }],
      said: missing(scene, given, "v"),
    });
  }
  const group = grouped(scene);
  if (group) steps[0].said = [...(steps[0].said ?? []), group];
  return steps;
}

function lineOf(letter: Letter, given: StepTensors | null, D: number, M: number): Piece[] {
  const bias: Piece[] = given?.b[letter] ? ["+", { symbol: "b", sub: letter, shape: [D] }] : [];
  return [
    { symbol: letter, shape: [D] },
    "=",
    { symbol: "x", shape: [M] },
    "·",
    { symbol: "W", sub: letter, shape: [M, D] },
    ...bias,
  ];
}

/** Where x is here and W is not: no linear layer makes this vector as it is. */
function missing(scene: Scene, given: StepTensors | null, letter: Letter): string[] {
  const x = letter === "q" ? given?.ofQuery(scene.row) : given?.ofKey(scene.key);
  if (!x || given?.w[letter]) return [];
  return [
    `W_${letter} was not found: no linear layer of the model makes ${letter} as it is, so ${letter} is given here.`,
  ];
}

/** From x to q or k: the projection, then a norm, then rotary embedding, each where the model has it. */
function chainTo(
  letter: "q" | "k",
  scene: Scene,
  given: StepTensors | null,
  made: ((d: number) => Sum) | null,
  last: Float32Array,
  domain: number,
  D: number,
  M: number,
): Unnamed[] {
  const row = letter === "q" ? scene.row : scene.key;
  const note = scene.site.steps?.projections[letter];
  const rotated = given?.rotated(letter, row) ?? null;
  const norm = given?.normed(letter, row) ?? null;
  const name = letter === "q" ? "query" : "key";
  const first = norm ?? rotated ?? last;
  const steps: Unnamed[] = [];
  const factor =
    note && note.factor !== 1
      ? [`The model multiplies q by ${Number(note.factor.toPrecision(4))} itself, before it compares q with k.`]
      : [];
  steps.push({
    id: letter === "q" ? "query" : "keys",
    why: `${letter === "q" ? `What ${queryName(scene)} looks for.` : `What ${keyName(scene)} offers to be matched by, at position ${scene.key}.`}`,
    place: made ? place(scene, letter) : undefined,
    formula: made ? lineOf(letter, given, D, M) : [{ symbol: letter, shape: [D] }],
    vectors: [
      {
        id: norm || rotated ? `${letter}_made` : letter,
        symbol: letter,
        note: norm ? "before its norm" : rotated ? "before rotary embedding" : undefined,
        values: first,
        domain: norm || rotated ? nice(Math.max(domain, one(first))) : domain,
        expand: made ?? undefined,
      },
    ],
    said: [...factor, ...missing(scene, given, letter)],
  });
  if (norm) {
    const after = rotated ?? last;
    steps.push({
      id: `${name}_norm`,
      why: `${note?.norm || "A norm"} brings ${letter} to one length, number by number times a learned gain.`,
      vectors: [
        {
          id: rotated ? `${letter}_normed` : letter,
          symbol: letter,
          note: rotated ? "before rotary embedding" : undefined,
          values: after,
          domain: nice(Math.max(domain, one(after))),
          expand: normed(norm, after, letter),
        },
      ],
    });
  }
  // where there is none, one line for both says so
  if (rotated || letter === "q") steps.push(rotary(letter, name, scene, given, rotated, last, domain));
  return steps;
}

/** Which dimensions rotary embedding changes at the last position there is: slow ones hardly move at the first. */
function movesSomewhere(letter: "q" | "k", { site, tensors }: Scene, given: StepTensors | null): boolean[] {
  const last = (letter === "q" ? site.queries : site.keys) - 1;
  const before = given?.rotated(letter, last);
  const after = letter === "q" ? tensors.query(last) : tensors.key(last);
  return Array.from(after, (value, d) => before != null && value !== before[d]);
}

function rotary(
  letter: "q" | "k",
  name: string,
  scene: Scene,
  given: StepTensors | null,
  before: Float32Array | null,
  after: Float32Array,
  domain: number,
): Unnamed {
  const id = `${name}_rotary`;
  if (!before) {
    const known = given?.w[letter] && given.ofQuery(0);
    // before it: kept in the trace and not here, or not kept, and then whether there is one is not known
    const kept = scene.site.steps?.kept.includes("pre_rotary_q");
    const taken = "q and k are shown as the dot product takes them";
    if (known) return absent(id, "none: q and k enter the dot product as the projections made them.");
    const why = kept ? `${taken}; what they were before rotary embedding is not held here.` : `not kept: ${taken}.`;
    return quiet(id, why, kept ? undefined : "rotary embedding, if any");
  }
  const found = turns(before, after);
  const pair = found?.find((one) => one !== null && !one.second);
  const at = pair ? (found?.indexOf(pair) ?? 0) : 0;
  const position = letter === "q" ? scene.query : scene.key;
  const moves = movesSomewhere(letter, scene, given);
  const unmoved = (found ?? []).flatMap((one, d) => (one === null ? [d] : []));
  const slow = unmoved.filter((d) => moves[d]);
  const still = unmoved.length - slow.length;
  const rest = [
    slow.length && `${count(slow.length, "dimension turns", "dimensions turn")} too slowly to show at this position`,
    still === 1 && "1 dimension stays as it is at every position of this text",
    still > 1 && `${count(still, "dimension")} stay as they are at every position of this text`,
  ].filter((one) => typeof one === "string");
  const words = pair
    ? `Pairs of dimensions (${at} with ${pair.other}, and so on) are turned by an angle that grows with the position, here ${position}; the length of each pair stays${rest.map((one) => `; ${one}`).join("")}.`
    : found
      ? `Position ${position} turns nothing: every angle is zero.`
      : `Position ${position} is written into ${letter} by turning its dimensions.`;
  const said: string[] = [];
  if (letter === "k" && given) {
    const q = given.rotated("q", scene.row);
    if (q && scene.chain.dot) {
      let plain = 0;
      for (let d = 0; d < q.length; d++) plain += q[d] * before[d];
      said.push(`Without it q · k would be ${number(plain)}; with it, it is ${number(scene.chain.dot[scene.key])}.`);
    }
  }
  return {
    id,
    why: words,
    formula: pair
      ? [
          { symbol: letter, sub: "d" },
          "←",
          { symbol: letter, sub: "d" },
          "· cos θ",
          pair.second ? "+" : "−",
          { symbol: letter, sub: "d′" },
          "· sin θ",
        ]
      : undefined,
    vectors: [
      {
        id: letter,
        symbol: letter,
        note: "as the dot product takes it",
        values: after,
        domain,
        expand: found
          ? (d) => {
              const turn = found[d];
              return turn
                ? turned(before, d, turn, letter)
                : single(
                    `${letter}[${d}] ${moves[d] ? "turns too slowly to show here" : "is not turned"}`,
                    `${letter}[${d}] before`,
                    before[d],
                    [],
                    before[d],
                  );
            }
          : undefined,
      },
    ],
    said,
  };
}
