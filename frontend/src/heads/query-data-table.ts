/** The same numbers as a plain table, on request, a page at a time. */

import { button, h } from "../base/dom";
import { EdgeCue } from "../base/edge-cue";
import { fixed, percent } from "../base/format";
import { isMasked, ordered } from "../chain/chain";
import { isolated } from "../scene/labels";
import type { Scene } from "../scene/scene";
import { csvButton, type Rows } from "./csv";

const PAGE = 50;

export class QueryDataTable {
  readonly element = h("section", { class: "figures", "aria-label": "data table", "data-figures": true });
  private readonly scroller = h("div", { class: "figures-scroll", tabindex: 0 });
  private readonly cue = new EdgeCue(this.scroller);
  private scene: Scene | null = null;
  private kind: "keys" | "dimensions" = "keys";
  private page = 0;
  private byWeight = false;

  constructor() {
    this.element.hidden = true;
  }

  toggle(scene: Scene, byWeight: boolean): boolean {
    this.element.hidden = !this.element.hidden;
    this.draw(scene, byWeight);
    if (!this.element.hidden) this.element.scrollIntoView({ block: "start" }); // its margin clears what is sticky
    return !this.element.hidden;
  }

  draw(scene: Scene, byWeight: boolean): void {
    this.scene = scene;
    this.byWeight = byWeight;
    if (this.element.hidden) return;
    const content = this.kind === "keys" || scene.site.weights_only ? ofKeys(scene, byWeight) : ofDimensions(scene);
    const pages = Math.max(1, Math.ceil(content.rows / PAGE));
    this.page = Math.min(this.page, pages - 1);
    const from = this.page * PAGE;
    const to = Math.min(content.rows, from + PAGE);
    const body = h("tbody");
    for (let i = from; i < to; i++) {
      const [first, ...rest] = content.row(i);
      body.append(h("tr", {}, h("th", { scope: "row" }, first), ...rest.map((text) => h("td", {}, text))));
    }
    const choose = (kind: typeof this.kind, name: string) =>
      button(name, { "aria-pressed": String(this.kind === kind) }, () => {
        this.kind = kind;
        this.page = 0;
        this.draw(this.scene as Scene, this.byWeight);
      });
    const turn = (by: number, name: string, off: boolean) => {
      const element = button(name, { class: "quiet" }, () => {
        this.page += by;
        this.draw(this.scene as Scene, this.byWeight);
      });
      element.disabled = off;
      return element;
    };
    this.element.replaceChildren(
      h(
        "div",
        { class: "figures-top" },
        !scene.site.weights_only &&
          h(
            "div",
            { class: "switch", role: "group", "aria-label": "rows of the data table" },
            choose("keys", "every key"),
            choose("dimensions", "the pair, every dimension"),
          ),
        pages > 1 && turn(-1, "‹ earlier", this.page === 0),
        h("span", { class: "num" }, `rows ${from}–${to - 1} of ${content.rows}`),
        pages > 1 && turn(1, "later ›", this.page === pages - 1),
        csvButton(() => content),
      ),
      this.scroller,
    );
    this.scroller.replaceChildren(
      h(
        "table",
        {},
        h("caption", {}, content.caption),
        h("thead", {}, h("tr", {}, ...content.columns.map((name) => h("th", { scope: "col" }, name)))),
        body,
      ),
    );
    this.cue.look();
  }
}

function ofKeys(scene: Scene, byWeight: boolean): Rows {
  const { chain, keyLabels, tensors, site, query, queryLabels } = scene;
  const keys = ordered(chain, scene.keys, byWeight);
  const optional: [string, ArrayLike<number> | null][] = [
    ["q · k", chain.dot],
    ["scaled", chain.scaled],
    ["capped", site.softcap === null ? null : chain.capped],
    ["position bias", chain.bias],
    ["score", site.softcap !== null || chain.bias ? chain.biased : null],
  ];
  const numbers = optional.filter((pair): pair is [string, ArrayLike<number>] => pair[1] !== null);
  return {
    caption: `Layer ${site.layer}, head ${scene.state.head}, query “${isolated(queryLabels[query].text)}” at ${query}: every key${byWeight ? ", by weight" : ""}`,
    columns: [
      "position",
      "token",
      ...numbers.map(([name]) => name),
      "mask",
      "weight",
      site.norms === "output" ? "‖v · W_O‖" : "‖v‖",
      "share of output",
    ],
    rows: keys.length,
    row: (i) => {
      const key = keys[i];
      return [
        String(key),
        keyLabels[key].text,
        ...numbers.map(([, values]) => fixed(values[key], 4)),
        isMasked(chain, key) ? "masked" : "allowed",
        `${fixed(chain.weights[key] * 100, 4)} %`,
        fixed(tensors.norms[key], 4),
        isMasked(chain, key) && !chain.share[key] ? "masked" : percent(chain.share[key]),
      ];
    },
    values: (i) => {
      const key = keys[i];
      return [
        key,
        keyLabels[key].text,
        ...numbers.map(([, values]) => values[key]),
        isMasked(chain, key) ? "masked" : "allowed",
        chain.weights[key],
        tensors.norms[key],
        chain.share[key],
      ];
    },
  };
}

function ofDimensions(scene: Scene): Rows {
  const { tensors, query, key, queryLabels, keyLabels, site } = scene;
  const { q } = scene;
  const k = tensors.key(key);
  let at = 0;
  let sum = 0;
  const sums = Array.from(q, (value, d) => (sum += value * k[d]));
  const v = tensors.v.length ? tensors.value(key) : new Float32Array(0);
  at = Math.max(q.length, v.length);
  const cell = (values: ArrayLike<number>, d: number) => (d < values.length ? fixed(values[d], 4) : "");
  const own = (values: ArrayLike<number>, d: number) => (d < values.length ? values[d] : null);
  return {
    caption: `Layer ${site.layer}, head ${scene.state.head}: query “${isolated(queryLabels[query].text)}” and key “${isolated(keyLabels[key].text)}”, every dimension`,
    columns: ["dimension", "q", "k", "q × k", "sum so far", "v of the key", "z"],
    rows: at,
    row: (d) => [
      String(d),
      cell(q, d),
      cell(k, d),
      d < q.length ? fixed(q[d] * k[d], 4) : "",
      cell(sums, d),
      cell(v, d),
      cell(scene.chain.z, d),
    ],
    values: (d) => [
      d,
      own(q, d),
      own(k, d),
      d < q.length ? q[d] * k[d] : null,
      own(sums, d),
      own(v, d),
      own(scene.chain.z, d),
    ],
  };
}
