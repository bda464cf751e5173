/** The chain of one query and key, written out: what each link is called, its formula, its numbers, what it was made of. */

import { count, decimals, fixed, percent, percentInWords } from "../../base/format";
import { nice, robustDomain } from "../../base/scale";
import { isMasked } from "../../chain/chain";
import type { Given, Letter } from "../../data/step-tensors";
import { isolated, named } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { scalingName } from "../../scene/text";
import {
  affine,
  denominator,
  dotSum,
  largestScore,
  normed,
  outputSum,
  shareSum,
  single,
  write,
  writeSum,
} from "./derivations";
import type { Piece } from "./formula";
import { type Sum, turned, turns, withoutMask } from "./sums";
import type { Vector } from "./vector";

export interface Scalar {
  id: string;
  symbol: string;
  value: number;
  text: string;
  expand?: () => Sum;
}

export interface Link {
  id: string;
  number: string;
  name: string;
  /** What it is for, in a sentence or two. */
  why: string;
  /** What is added to it where there are keys to press. */
  onScreen?: string;
  formula?: Piece[];
  /** Where the weights stand in the model. */
  place?: string;
  vectors?: Vector[];
  scalars?: Scalar[];
  /** Lines below the numbers. */
  said?: string[];
  /** Drawn by the level itself: the running sum, the request for x. */
  special?: "running" | "ask";
  /** Does not apply here: one line and nothing else. */
  quiet?: boolean;
}

const number = (value: number) => fixed(value, Math.max(2, decimals(Math.abs(value))));
const scalar = (id: string, symbol: string, value: number, expand?: () => Sum): Scalar => ({
  id,
  symbol,
  value,
  text: number(value),
  expand,
});
const quiet = (id: string, place: string, name: string, why: string): Link => ({
  id,
  number: place,
  name,
  why,
  quiet: true,
});

/** A weight or share of this key. */
const shown = ({ chain, key }: Scene, part: number) => (isMasked(chain, key) && !part ? "masked" : percent(part));

/** `pick`: steps the running sum to a dimension. */
export function written(scene: Scene, given: Given | null, pick: (dim: number) => void): Link[] {
  if (scene.site.weights_only) return onlyWeights(scene);
  return [...toQuery(scene, given), ...toKey(scene, given), ...toScore(scene, pick), ...toOutput(scene, given)];
}

/** Query and key heads, named where they are grouped. */
export function grouped({ site, state }: Scene): string | null {
  const { heads, kv_heads } = site;
  if (heads === kv_heads) return null;
  const size = heads / kv_heads;
  const group = Math.floor(state.head / size);
  const who = size === 1 ? "" : ` (heads ${group * size}–${group * size + size - 1} share it)`;
  return `Query head ${state.head} reads key/value head ${group} of ${kv_heads}${who}.`;
}

const one = (values: ArrayLike<number>) => robustDomain(values);
const queryName = (scene: Scene) => `“${isolated(named(scene.queryLabels[scene.query]))}”`;
const keyName = (scene: Scene) => `“${isolated(named(scene.keyLabels[scene.key]))}”`;

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

function toQuery(scene: Scene, given: Given | null): Link[] {
  const { site, q, domains } = scene;
  const D = site.head_size;
  const M = given?.width ?? 0;
  const x = given?.ofQuery(scene.row) ?? null;
  const made = affine(scene, given, "q");
  const links: Link[] = [];
  links.push(
    x
      ? {
          id: "x",
          number: "1",
          name: "x",
          why: `What the layer is given for ${queryName(scene)} at position ${scene.query}.`,
          formula: [{ symbol: "x", shape: [M] }],
          vectors: [{ id: "x", symbol: "x", values: x, domain: one(x) }],
        }
      : { id: "x", number: "1", name: "x", why: "", special: "ask" },
  );
  links.push(...chainTo("q", "2", scene, given, made, q, domains.q, D, M));
  return links;
}

function toKey(scene: Scene, given: Given | null): Link[] {
  const { site, key, domains, tensors } = scene;
  const M = given?.width ?? 0;
  const x = given?.ofKey(key) ?? null;
  const k = affine(scene, given, "k");
  const links = chainTo("k", "3", scene, given, k, tensors.key(key), domains.k, site.head_size, M);
  if (x && (key !== scene.query || given?.xKeys))
    links[0].vectors = [
      { id: "x_key", symbol: "x", note: `of ${keyName(scene)}`, values: x, domain: one(x) },
      ...(links[0].vectors ?? []),
    ];
  if (tensors.v.length) {
    const v = tensors.value(key);
    const made = affine(scene, given, "v");
    links.push({
      id: "value",
      number: "3c",
      name: "v",
      why: `What ${keyName(scene)} passes on when it is attended to.`,
      place: made ? place(scene, "v") : undefined,
      formula: made ? lineOf("v", given, site.value_size, M) : [{ symbol: "v", shape: [site.value_size] }],
      vectors: [{ id: "v", symbol: "v", values: v, domain: domains.v, expand: made ?? undefined }],
      said: missing(scene, given, "v"),
    });
  }
  const group = grouped(scene);
  if (group) links[0].said = [...(links[0].said ?? []), group];
  return links;
}

function lineOf(letter: Letter, given: Given | null, D: number, M: number): Piece[] {
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
function missing(scene: Scene, given: Given | null, letter: Letter): string[] {
  const x = letter === "q" ? given?.ofQuery(scene.row) : given?.ofKey(scene.key);
  if (!x || given?.w[letter]) return [];
  return [
    `W_${letter} was not found: no linear layer of the model makes ${letter} as it is, so ${letter} is given here.`,
  ];
}

/** From x to q or k: the projection, then a norm, then rotary embedding, each where the model has it. */
function chainTo(
  letter: "q" | "k",
  place_: string,
  scene: Scene,
  given: Given | null,
  made: ((d: number) => Sum) | null,
  last: Float32Array,
  domain: number,
  D: number,
  M: number,
): Link[] {
  const row = letter === "q" ? scene.row : scene.key;
  const note = scene.site.steps?.projections[letter];
  const rotated = given?.rotated(letter, row) ?? null;
  const norm = given?.normed(letter, row) ?? null;
  const name = letter === "q" ? "query" : "key";
  const first = norm ?? rotated ?? last;
  const links: Link[] = [];
  const factor =
    note && note.factor !== 1
      ? [`The model multiplies q by ${Number(note.factor.toPrecision(4))} itself, before it compares q with k.`]
      : [];
  links.push({
    id: name,
    number: place_,
    name: letter,
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
    links.push({
      id: `${name}_norm`,
      number: `${place_}a`,
      name: "norm",
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
  if (rotated || letter === "q") links.push(rotary(letter, place_, name, scene, given, rotated, last, domain));
  return links;
}

function rotary(
  letter: "q" | "k",
  place_: string,
  name: string,
  scene: Scene,
  given: Given | null,
  before: Float32Array | null,
  after: Float32Array,
  domain: number,
): Link {
  const id = `${name}_rotary`;
  if (!before) {
    const known = given?.w[letter] && given.ofQuery(0);
    // before it: kept in the trace and not here, or not kept, and then whether there is one is not known
    const kept = scene.site.steps?.kept.includes("pre_rotary_q");
    const taken = "q and k are shown as the dot product takes them";
    const why = known
      ? "none: q and k enter the dot product as the projections made them."
      : kept
        ? `${taken}; what they were before rotary embedding is not held here.`
        : `not kept: ${taken}.`;
    return quiet(id, `${place_}b`, known || kept ? "rotary embedding" : "rotary embedding, if any", why);
  }
  const found = turns(before, after);
  const pair = found?.find((one) => one !== null && !one.second);
  const at = pair ? (found?.indexOf(pair) ?? 0) : 0;
  const still = found?.filter((one) => one === null).length ?? 0;
  const position = letter === "q" ? scene.query : scene.key;
  const words = pair
    ? `Pairs of dimensions (${at} with ${pair.other}, and so on) are turned by an angle that grows with the position, here ${position}; the length of each pair stays${still ? `, and ${count(still, "dimension")} stay as they are` : ""}.`
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
    number: `${place_}b`,
    name: "rotary embedding",
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
                : single(`${letter}[${d}] is not turned`, `${letter}[${d}] before`, before[d], [], before[d]);
            }
          : undefined,
      },
    ],
    said,
  };
}

function toScore(scene: Scene, pick: (dim: number) => void): Link[] {
  const { site, chain, key, domains, q, tensors } = scene;
  const { dot, scaled, capped, biased } = chain;
  if (!dot || !scaled || !capped || !biased) return [];
  const D = site.head_size;
  const k = tensors.key(key);
  const product = Float64Array.from({ length: D }, (_, d) => q[d] * k[d]);
  const links: Link[] = [
    {
      id: "products",
      number: "4",
      name: "q × k",
      why: "The two vectors, multiplied number by number and added up one after another.",
      onScreen: "The arrow keys on the slider step along.",
      formula: [{ symbol: "q × k", shape: [D] }, "=", { symbol: "q", shape: [D] }, "×", { symbol: "k", shape: [D] }],
      special: "running",
      vectors: [
        {
          id: "product",
          symbol: "q × k",
          values: product,
          domain: domains.product,
          pick,
          upTo: scene.state.dim ?? D - 1,
        },
      ],
    },
    {
      id: "dot",
      number: "5",
      name: "q · k",
      why: "Their sum, the dot product: how well the key matches the query.",
      formula: [{ symbol: "q · k" }, "= Σ", { symbol: "q × k", shape: [D] }],
      scalars: [scalar("dot", "q · k", dot[key], () => dotSum(scene))],
    },
  ];
  const times = scalingName(scene.site);
  if (site.scaling === 1) {
    const own = site.steps?.projections.q?.factor;
    const by =
      own && own !== 1 ? `the model has multiplied q by ${Number(own.toPrecision(4))} itself` : "q · k enters as it is";
    links.push(quiet("scaled", "6", "scaling", `× 1: ${by}.`));
  } else
    links.push({
      id: "scaled",
      number: "6",
      name: "scaling",
      why: `So that its size does not grow with the ${D} numbers that were added.`,
      formula: [{ symbol: "scaled" }, "=", { symbol: "q · k" }, times],
      scalars: [
        scalar("scaled", "scaled", scaled[key], () =>
          single(
            `scaled = q · k × ${Number(site.scaling.toPrecision(6))}`,
            "q · k",
            dot[key],
            [{ name: `the scaling, ${times}`, sign: "×", value: site.scaling }],
            scaled[key],
          ),
        ),
      ],
    });
  if (site.softcap === null) links.push(quiet("capped", "7", "softcap", "none: this layer does not bend its scores."));
  else
    links.push({
      id: "capped",
      number: "7",
      name: "softcap",
      why: `Bends scores smoothly so that none leaves ±${Number(site.softcap.toPrecision(4))}.`,
      formula: [
        { symbol: "capped" },
        "=",
        `${Number(site.softcap.toPrecision(4))} · tanh(`,
        { symbol: "scaled" },
        `/ ${Number(site.softcap.toPrecision(4))})`,
      ],
      scalars: [
        scalar("capped", "capped", capped[key], () => {
          const c = site.softcap as number;
          const bent = Math.tanh(scaled[key] / c);
          return single(
            `capped = ${Number(c.toPrecision(4))} · tanh(scaled / ${Number(c.toPrecision(4))})`,
            `tanh(${number(scaled[key])} / ${Number(c.toPrecision(4))})`,
            bent,
            [{ name: "the cap", sign: "×", value: c }],
            capped[key],
          );
        }),
      ],
    });
  if (!chain.bias)
    links.push(quiet("biased", "8", "position bias", "none: nothing is added for the distance of the two tokens."));
  else {
    const bias = chain.bias[key];
    links.push({
      id: "biased",
      number: "8",
      name: "position bias",
      why: `A learned number for the distance of the two tokens, here ${key - scene.row - (site.query_offset ?? 0)}.`,
      formula: [
        { symbol: "score" },
        "=",
        { symbol: site.softcap === null ? "scaled" : "capped" },
        "+",
        { symbol: "bias" },
      ],
      scalars: [
        scalar("bias", "bias", bias),
        scalar("biased", "score", biased[key], () =>
          single(
            "score = scaled + bias",
            site.softcap === null ? "scaled" : "capped",
            capped[key],
            [{ name: "the position bias", sign: "+", value: bias }],
            biased[key],
          ),
        ),
      ],
    });
  }
  links.push(mask(scene), softmax(scene));
  return links;
}

function mask(scene: Scene): Link {
  const { chain, site, key } = scene;
  const { allowed, biased } = chain;
  if (!allowed || !biased) return quiet("masked", "9", "mask", `none: all ${count(site.keys, "key")} may be seen.`);
  const removed = allowed.reduce((sum, may) => sum + (may ? 0 : 1), 0);
  const before = withoutMask(biased, scene.tensors.sink());
  let mass = 0;
  for (let j = 0; j < site.keys; j++) if (!allowed[j]) mass += before[j];
  const masked = isMasked(chain, key);
  const rule = site.mask.words ? `${site.mask.words}: ` : "";
  const scalars: Scalar[] = [
    { id: "removed", symbol: "keys removed", value: removed, text: `${removed} of ${site.keys}` },
    { id: "removed_mass", symbol: "their weight, had they stayed", value: mass, text: percent(mass) },
    { id: "before_mask", symbol: "weight of this key, without a mask", value: before[key], text: percent(before[key]) },
  ];
  return {
    id: "masked",
    number: "9",
    name: "mask",
    why: `${rule}${removed ? `${count(removed, "key")} of ${site.keys} get the score −∞` : "it removes none of the keys of this query"}${masked ? `, ${keyName(scene)} among them` : ""}.`,
    formula: [{ symbol: "score" }, "=", masked ? "−∞" : number(biased[key])],
    scalars,
  };
}

function softmax(scene: Scene): Link {
  const { chain, key, site } = scene;
  const score = chain.biased?.[key] ?? Number.NaN;
  const masked = isMasked(chain, key);
  if (chain.empty) {
    const even = site.mask.empty_rows === "uniform";
    return {
      id: "weight",
      number: "10",
      name: "softmax",
      why: even
        ? "No key is allowed; this implementation then spreads its weight evenly."
        : "No key is allowed: there is nothing to spread, and the head writes zero.",
      scalars: [{ id: "weight", symbol: "weight", value: chain.weights[key], text: percent(chain.weights[key]) }],
    };
  }
  const max = largestScore(scene);
  const sum = denominator(scene, max);
  const part = masked ? 0 : Math.exp(score - max);
  const sink = scene.tensors.sink();
  const scalars: Scalar[] = [
    {
      id: "part",
      symbol: masked ? "exp(−∞)" : `exp(${number(score)} − ${max < 0 ? `(${number(max)})` : number(max)})`,
      value: part,
      text: fixed(part, 4),
    },
    { ...scalar("denominator", "Σ exp(score − max)", sum.total, () => sum), text: fixed(sum.total, 4) },
    {
      id: "weight",
      symbol: "weight",
      value: chain.weights[key],
      text: shown(scene, chain.weights[key]),
      expand: () => ({
        formula: "weight = exp(score − max) / Σ over keys of exp(score − max)",
        heads: [],
        terms: [{ name: "exp(score − max)", factors: [], value: part, at: 0 }],
        after: [{ name: "Σ exp(score − max)", sign: "÷", value: sum.total }],
        total: chain.weights[key],
        unit: "percent",
      }),
    },
  ];
  if (sink !== null)
    scalars.push({ id: "sink", symbol: "weight that the sink takes", value: chain.sink, text: percent(chain.sink) });
  const among = chain.allowed ? chain.allowed.reduce((all, may) => all + may, 0) : site.keys;
  return {
    id: "weight",
    number: "10",
    name: "softmax",
    why: `Turns the scores of ${count(among, "key")} into weights that add up to ${sink === null ? "100 %" : `${percentInWords(1 - chain.sink)}; a learned sink, with the score ${number(sink)} and no token, takes the rest`}. max is the largest score, ${number(max)}: it cancels out, and keeps exp small.`,
    formula: [
      { symbol: "weight" },
      "=",
      "exp(",
      { symbol: "score" },
      "−",
      { symbol: "max" },
      ") / Σ exp(",
      { symbol: "score" },
      "−",
      { symbol: "max" },
      ")",
    ],
    scalars,
  };
}

function toOutput(scene: Scene, given: Given | null): Link[] {
  const { chain, site, tensors, key } = scene;
  if (!tensors.v.length) return [];
  const D = site.value_size;
  const K = site.keys;
  const part = Float64Array.from(tensors.value(key), (v) => v * chain.weights[key]);
  const links: Link[] = [
    {
      id: "output",
      number: "11",
      name: "z",
      why: `The values of all keys, each times its weight, added up: what this head makes for ${queryName(scene)}. ${keyName(scene)} ${isMasked(chain, key) && !chain.weights[key] ? "is masked and puts in nothing" : `puts in ${percent(chain.weights[key])} of its v`}.`,
      formula: [
        { symbol: "z", shape: [D] },
        "= Σ",
        { symbol: "weight", shape: [K] },
        "·",
        { symbol: "v", shape: [K, D] },
      ],
      vectors: [
        { id: "part", symbol: "weight · v", note: `of ${keyName(scene)}`, values: part, domain: scene.zEnd },
        { id: "z", symbol: "z", note: "of all keys", values: chain.z, domain: scene.zEnd, expand: outputSum(scene) },
      ],
    },
  ];
  const shares: Scalar[] = [
    {
      id: "share",
      symbol: `share of ${keyName(scene)}`,
      value: chain.share[key],
      text: shown(scene, chain.share[key]),
      expand: () => shareSum(scene),
    },
  ];
  const made = given ? write(scene, given) : null;
  if (!made || !given) {
    const kept = site.steps?.kept.includes("w_o");
    const why = kept
      ? "W_O of this head is not held here, as x is not."
      : "W_O is not known: no linear layer took z as it is, or the trace came from a file without it.";
    links.push({ id: "write", number: "12", name: "write", why, scalars: shares });
    return links;
  }
  const length = Math.hypot(...made);
  links.push({
    id: "write",
    number: "12",
    name: "write",
    why: `What the head adds to the residual stream of ${queryName(scene)}. The layer adds up the writes of its ${count(site.heads, "head")}${given.bo ? ", and b_O" : ""}.`,
    formula: [
      { symbol: "write", shape: [given.width] },
      "=",
      { symbol: "z", shape: [D] },
      "·",
      { symbol: "W", sub: "O", shape: [D, given.width] },
    ],
    vectors: [{ id: "write", symbol: "write", values: made, domain: one(made), expand: writeSum(scene, given) }],
    scalars: [{ id: "length", symbol: "‖write‖", value: length, text: number(length) }, ...shares],
  });
  return links;
}

function onlyWeights(scene: Scene): Link[] {
  const { chain, key } = scene;
  return [
    {
      id: "only",
      number: "",
      name: "weights only",
      why: "Only weights were captured here, with no query and key vectors behind them: there is no arithmetic to write out. To see it, trace the model itself: attnscope.trace(model, tokenizer, text).",
      scalars: [
        {
          id: "weight",
          symbol: `weight of ${keyName(scene)}`,
          value: chain.weights[key],
          text: shown(scene, chain.weights[key]),
        },
      ],
    },
  ];
}
