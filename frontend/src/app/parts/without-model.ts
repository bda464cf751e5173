/** What a view without a model says of edits: that it cannot make them, who can, and which were made before. */

import { h } from "../../base/dom";
import { list } from "../../base/format";
import type { Scene } from "../../scene/scene";

const SHOWN = 12;

export function withoutModel({ meta, state: { edits } }: Scene): HTMLElement[] {
  const effects = meta.sites.flatMap(({ roles, stack, layer }) =>
    (roles ?? []).flatMap((badges, head) =>
      badges
        .filter(({ kind, rests }) => kind && !rests)
        .map(({ name }) => `${stack ? `${stack} ` : ""}L${layer}H${head} ${name}`),
    ),
  );
  const lines = [
    "This view holds numbers and no model, so it cannot compute what an edit does. attnscope serve can, and attnscope.show(model, tokenizer, text) in a notebook.",
    edits.length && `Not computed here: ${list(edits)}.`,
    effects.length &&
      `Computed when this view was made, and beyond the band of other heads: ${list(effects.slice(0, SHOWN))}${effects.length > SHOWN ? ` \u2026 (${effects.length})` : ""}.`,
  ];
  return [h("h2", {}, "Edit heads"), ...lines.filter(Boolean).map((line) => h("p", {}, line as string))];
}
