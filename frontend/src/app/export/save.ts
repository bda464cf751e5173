/** The page's save button: the level as seen, as SVG or PNG, with what it shows written inside. */

import { toHash } from "../../base/state";
import { number } from "../../data/metadata";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { withText } from "./png";

export type Format = "svg" | "png";

/** Everything one must know to find these numbers again. */
export function provenance(scene: Scene): Record<string, unknown> {
  const { meta, site, state } = scene;
  const { status, rows, of } = site.receipt;
  return {
    attnscope: meta.versions?.attnscope ?? null,
    versions: meta.versions,
    model: meta.model.name,
    revision: meta.model.revision,
    class: meta.model.class,
    dtype: meta.model.dtype,
    held_dtype: site.held?.dtype ?? null,
    implementation: meta.model.implementation,
    source: meta.source ?? null,
    tokens: meta.tokens.map((table) => table.text),
    level: state.level,
    stack: site.stack,
    layer: site.layer,
    head: state.head,
    query: scene.query,
    key: scene.key,
    state: toHash(state).slice(1),
    receipt: { status, max_error: finite(site.receipt.max_error), tolerance: finite(site.receipt.tolerance), rows, of },
    notes: meta.notes ?? [],
  };
}

const finite = (value: Scene["site"]["receipt"]["max_error"]) => {
  const known = number(value);
  return Number.isFinite(known) ? known : null;
};

const escaped = (text: string) => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);

/** What XML cannot hold, spelled as JSON spells it; JSON.stringify does so for all else. */
const legal = (json: string) => json.replace(/[\ufffe\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16)}`);

export function annotated(svg: string, about: Record<string, unknown>): string {
  const at = svg.indexOf(">", svg.indexOf("<svg")) + 1;
  return `${svg.slice(0, at)}<metadata id="attnscope">${escaped(legal(JSON.stringify(about)))}</metadata>${svg.slice(at)}`;
}

async function rasterised({ svg, width, height }: Picture): Promise<Uint8Array> {
  const image = new Image();
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    image.src = url;
    await image.decode();
    // twice the pixels, as long as a canvas can hold them
    const scale = Math.min(2, 16000 / Math.max(width, height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
    if (!blob) throw new Error("This browser could not turn the picture into a PNG; SVG works.");
    return new Uint8Array(await blob.arrayBuffer());
  } finally {
    URL.revokeObjectURL(url);
  }
}

export async function fileOf(picture: Picture, format: Format, about: Record<string, unknown>): Promise<Blob> {
  if (format === "svg") return new Blob([annotated(picture.svg, about)], { type: "image/svg+xml" });
  const png = withText(await rasterised(picture), "attnscope", JSON.stringify(about));
  return new Blob([png], { type: "image/png" });
}

/** attnscope-bert-layer2-head8-neuron.svg */
export function fileName({ meta, site, state }: Scene, format: Format): string {
  const model = (meta.model.name.split(/[/\\]/).at(-1) ?? "").replace(/[^\w.-]+/g, "-").slice(0, 40);
  const parts = ["attnscope", model, site.stack, `layer${site.layer}`, `head${state.head}`, state.level];
  return `${parts.filter(Boolean).join("-")}.${format}`;
}
