/** The sentence, why the view opened here, and the summary for screen readers. */

import { AfterFrame, h, setText } from "../../base/dom";
import { change, percent, percentInWords } from "../../base/format";
import type { State } from "../../base/state";
import { groupRows } from "../../scene/groups";
import { isolated } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { sentence } from "../../scene/sentence";
import { after, asText, note, type Part } from "../../scene/text";
import { tokenLook } from "../../scene/token-element";

const PERCENT = /(\(?\d[\d.]* %[).,:]?)/;
const SPOKEN = 8; // keys in the summary

export class SentenceBar {
  readonly element: HTMLElement;
  private readonly sentence = h("p", { class: "sentence", "data-sentence": true, role: "status" });
  private readonly why = h("span", { "data-why": true });
  private readonly summary = h("p", { class: "unseen", "data-summary": true });

  private readonly afterFrame = new AfterFrame();

  /** `notes`: what a reader must know of the whole trace; always in sight, a line each. */
  constructor(notes: string[], hint: HTMLElement) {
    const below = h("p", { class: "why" }, h("span", {}, "Layers and heads count from 0. ", this.why), hint);
    const known = h("ul", { class: "notes", "data-notes": true, "aria-label": "notes" });
    for (const note of new Set(notes)) known.append(h("li", {}, note));
    this.element = h("div", { class: "say" }, this.sentence, below, notes.length > 0 && known, this.summary);
  }

  /**
   * `opening`: the place that was chosen for the reader; its reason is shown only there. `own`: what the level shows
   * instead of the sentence of the query.
   */
  draw(scene: Scene, opening: State | null, own: Part[] | null): void {
    const parts = [...(own ?? sentence(scene)), ...(scene.picture ? [] : ofGroup(scene))];
    this.sentence.replaceChildren(
      ...parts.flatMap((part) => {
        // a number and its percent sign stay on one line
        if (typeof part === "string")
          return part.split(PERCENT).map((text, i) => (i % 2 ? h("span", { class: "num" }, text) : text));
        const look = part.key === null ? "subject" : part.special ? "special" : "";
        return [h("span", tokenLook(part.token, look), part.token), after(part)];
      }),
    );
    const { state } = scene;
    const there =
      opening && (["stack", "layer", "head", "query"] as const).every((name) => state[name] === opening[name]);
    setText(this.why, there ? (opening.why ?? "") : "");
    // heard, not seen: no frame waits for it
    const summarise = () => setText(this.summary, summary(scene, asText(parts)));
    if (this.summary.textContent) this.afterFrame.run(summarise);
    else summarise();
  }

  destroy(): void {
    this.afterFrame.cancel();
  }
}

/** What the query gives to the group that is looked at. */
function ofGroup(scene: Scene): Part[] {
  const { state, pair } = scene;
  const row = state.group === null || pair || state.level === "model" ? null : groupRows(scene)[state.group];
  if (!row) return [];
  const { name, weight, share, even } = row;
  const ratio = even ? (weight / even).toFixed(1) : "0.0";
  return [` ${note("group", { name, part: percentInWords(weight), share: percentInWords(share), ratio })}`];
}

function summary({ state, chain, keyLabels, query, pair, picture }: Scene, sentence: string): string {
  if (picture) return `Layer ${state.layer}, head ${state.head}. ${sentence}`;
  const size = (key: number) => (pair ? Math.abs(chain.weights[key]) : chain.weights[key]);
  const strongest = Array.from(chain.weights.keys())
    .sort((a, b) => size(b) - size(a))
    .slice(0, SPOKEN)
    .map(
      (key) => `${isolated(keyLabels[key].text)} ${pair ? change(chain.weights[key]) : percent(chain.weights[key])}`,
    );
  const place = `Layer ${state.layer}, head ${state.head}, query ${query}.`;
  return `${place} ${sentence} ${pair ? "Keys that changed most" : "Strongest keys"}: ${strongest.join(", ")}.`;
}
