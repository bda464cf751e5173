/** The text as running words, each token underlined by its weight for the query. A click picks the query. */

import { h, setAttribute } from "../../base/dom";
import { EdgeCue } from "../../base/edge-cue";
import { isMasked } from "../../chain/chain";
import { groupsIn } from "../../scene/groups";
import type { Label } from "../../scene/labels";
import type { Occurrence } from "../../scene/occurrences";
import type { Scene } from "../../scene/scene";
import { queryRange } from "../validate-state";
import { baseOf, type Direction, inRuns } from "./directions";
import { Find } from "./find";
import { unitsOf } from "./flow";
import { Outline } from "./outline";
import { said } from "./said";

const ACROSS = "calc(100% - 2px)"; // a line and the ink below it are backgrounds of a token: drawn without being laid out again
const LETTERS = /[\p{L}\p{N}]/u;
const WINDOW = 640; // longer texts are shown in part, around the query

export interface RibbonHost {
  pickQuery(query: number): void;
  pin(key: number): void;
  group(index: number | null): void;
  say(text: string): void;
}

interface Token {
  element: HTMLElement;
  /** As drawn: most of a long text does not change from query to query. */
  length: number;
  masked: boolean;
}

/** One text: `queries` to pick from, `keys` that carry weight, or both at once. */
export class Ribbon {
  readonly element: HTMLElement;
  private readonly flow: HTMLElement;
  private readonly tokens = new Map<number, Token>();
  private labels: Label[] = [];
  private inkHeight = 14;
  private from = 0;
  private to = 0;
  private current: HTMLElement | null = null;
  private ringed: HTMLElement | null = null;
  private scene: Scene | null = null;
  private wanted: HTMLElement | null = null;
  private readonly find: Find;
  private readonly cue: EdgeCue;
  /** The place that the search looks at, while it does. */
  private sought: Occurrence | null = null;
  private found: Occurrence[] = [];
  private readonly outline: Outline;
  /** The group that is looked at. */
  private group: Occurrence | null = null;

  constructor(
    private readonly role: "both" | "query" | "key",
    title: string | null,
    private readonly host: RibbonHost,
    private readonly id: string,
  ) {
    const purpose = role === "key" ? "the text of the keys; Enter pins a key" : "the text; arrow keys move the query";
    this.flow = h("div", {
      class: "flow",
      role: "listbox",
      tabindex: 0,
      "aria-label": purpose,
      "data-ribbon": role === "key" ? "key" : "query",
    });
    this.cue = new EdgeCue(this.flow);
    const searched = {
      labels: () => this.labels,
      from: () => this.own,
      mark: (found: Occurrence[], current: number) => this.markFound(found, current),
      pick: (token: number) => this.choose(token),
      leave: () => this.flow.focus({ preventScroll: true }),
    };
    this.find = new Find(searched, role === "key" ? "the text of the keys" : "the text");
    this.outline = new Outline(host);
    this.element = h(
      "div",
      { class: `ribbon ribbon-${role}` },
      title && h("span", { class: "ribbon-title" }, title),
      this.find.element,
      this.outline.element,
      this.flow,
      this.find.opener,
    );
    this.flow.addEventListener("click", (event) => this.pick(event));
    this.flow.addEventListener("keydown", (event) => this.walk(event));
    this.flow.addEventListener("pointerover", (event) => this.hover(event));
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const labels = this.role === "key" ? scene.keyLabels : scene.queryLabels;
    const fresh = labels !== this.labels;
    const looked = this.renew(scene);
    const centre = fresh ? this.own : (this.sought?.first ?? (looked ? this.group?.first : null) ?? this.own);
    if (fresh || centre < this.from || centre >= this.to) this.build(labels, centre, scene);
    if (fresh) this.find.renew();
    if (this.role !== "query") {
      this.ink(scene);
      this.outline.draw(scene);
      this.element.classList.toggle("grouped", !this.outline.element.hidden);
    }
    this.mark(scene);
    if (looked && this.group) this.wanted = this.tokens.get(this.group.first)?.element ?? this.wanted;
  }

  /** Whether another group is looked at than before. */
  private renew({ state, meta, site }: Scene): boolean {
    const group = state.group === null ? null : groupsIn(meta.tokens[site.key_tokens])[state.group];
    const before = this.group?.first;
    this.group = this.role !== "query" && group ? { first: group.start, last: group.stop - 1 } : null;
    return this.group !== null && this.group.first !== before;
  }

  /** The token that this text is about: a query, or a key. */
  private get own(): number {
    if (!this.scene) return 0;
    return this.role === "key" ? this.scene.key : this.scene.query;
  }

  /** Opens the search. */
  seek(): void {
    this.find.open();
  }

  /** Closes the search; false when it was not open. */
  close(): boolean {
    return this.find.close();
  }

  get focused(): boolean {
    return this.element.matches(":focus-within");
  }

  destroy(): void {
    this.cue.destroy();
  }

  private markFound(found: Occurrence[], current: number): void {
    this.found = found;
    this.sought = found[current] ?? null;
    const { scene, sought } = this;
    if (sought && scene && (sought.first < this.from || sought.first >= this.to)) this.draw(scene);
    this.drawFound();
    if (!sought) return;
    this.wanted = this.tokens.get(sought.first)?.element ?? null;
    this.look();
  }

  private drawFound(): void {
    for (const { element } of this.tokens.values()) element.classList.remove("found", "sought");
    for (const one of this.found) {
      for (let i = Math.max(one.first, this.from); i <= Math.min(one.last, this.to - 1); i++) {
        this.tokens.get(i)?.element.classList.add("found");
        if (one === this.sought) this.tokens.get(i)?.element.classList.add("sought");
      }
    }
  }

  private build(labels: Label[], centre: number, scene: Scene): void {
    this.labels = labels;
    this.tokens.clear();
    this.from = labels.length <= WINDOW ? 0 : Math.max(0, Math.min(labels.length - WINDOW, centre - WINDOW / 2));
    this.to = Math.min(labels.length, this.from + WINDOW);
    const table = scene.meta.tokens[this.role === "key" ? scene.site.key_tokens : scene.site.query_tokens];
    const units = unitsOf(labels, table, this.from, this.to, (label) => this.token(label));
    this.flow.dir = baseOf(units.map(({ text }) => text));
    const parts = inRuns(units, this.flow.dir as Direction);
    const dense = this.to - this.from > 80;
    this.inkHeight = dense ? 9 : 14;
    this.element.classList.toggle("dense", dense);
    this.flow.replaceChildren(...parts);
    this.cue.look();
    if (this.found.length) this.drawFound();
  }

  private token(label: Label): HTMLElement {
    const text = h("span", { class: "t", dir: "auto" }, label.text);
    const element = h(
      "span",
      {
        class: "token",
        role: "option",
        id: `${this.id}-${label.index}`,
        "data-token": label.index,
        "aria-selected": "false",
      },
      text,
    );
    if (label.special) element.classList.add("special");
    this.tokens.set(label.index, { element, length: -1, masked: false });
    return element;
  }

  private ink(scene: Scene): void {
    const { chain, weightEnd, aside, without } = scene;
    for (const [index, token] of this.tokens) {
      const weight = index < chain.weights.length ? chain.weights[index] : 0;
      // of a difference the size, in the colour of its sign
      const size = Math.abs(weight);
      const out = without && aside.keys[index] === 1; // its ink would be longer than the scale of what is left
      const part = !out && Number.isFinite(size) ? Math.min(1, size / weightEnd) : 0;
      if (scene.pair) setAttribute(token.element, "data-sign", weight < 0 ? "shrank" : "grew");
      // a trace of weight is still a hairline
      const length = !out && size >= 0.0005 ? Math.max(this.inkHeight * part, 1) : 0;
      const px = Math.round(length * 4) / 4;
      if (px !== token.length) token.element.style.backgroundSize = `${ACROSS} 1px, ${ACROSS} ${px}px`;
      token.length = px;
      const masked = isMasked(chain, index);
      if (masked !== token.masked) token.element.classList.toggle("masked", masked);
      token.masked = masked;
    }
  }

  private mark(scene: Scene): void {
    const current = this.role === "key" ? null : (this.tokens.get(scene.query)?.element ?? null);
    if (current !== this.current) {
      this.current?.classList.remove("query");
      if (this.current) setAttribute(this.current, "aria-selected", "false");
      current?.classList.add("query");
      if (current) setAttribute(current, "aria-selected", "true");
      this.current = current;
    }
    const ringed = this.role === "query" ? null : (this.tokens.get(scene.key)?.element ?? null);
    if (ringed !== this.ringed) {
      this.ringed?.classList.remove("pinned");
      ringed?.classList.add("pinned");
      this.ringed = ringed;
    }
    const { group } = this;
    const same = this.role === "query" ? "" : this.labels[scene.key].text;
    for (const [index, { element }] of this.tokens) {
      const { classList } = element;
      classList.toggle("in-group", group !== null && index >= group.first && index <= group.last);
      classList.toggle("copy", this.labels[index].text === same && index !== scene.key && LETTERS.test(same));
    }
    const active = current ?? ringed;
    if (active) this.flow.setAttribute("aria-activedescendant", active.id);
    if (!this.sought) this.wanted = active;
  }

  /** Scrolls the query into sight: the ribbon only, never the page. Called when the layout is known anyway. */
  look(): void {
    this.outline.look();
    const { flow, wanted: element } = this;
    this.wanted = null;
    if (!element || flow.scrollHeight <= flow.clientHeight) return;
    const top = element.offsetTop; // within the flow, which is positioned
    if (top >= flow.scrollTop && top + element.offsetHeight <= flow.scrollTop + flow.clientHeight) return;
    // to the beginning of a line: a line cut in half is a row of bare underlines
    const height = element.offsetHeight;
    let line = top;
    for (const { element: token } of this.tokens.values()) {
      line = token.offsetTop;
      if (line >= top - flow.clientHeight / 3 - height / 2) break;
    }
    flow.scrollTop = line - 2;
  }

  private indexAt(event: Event): number | null {
    const token = (event.target as Element).closest<HTMLElement>("[data-token]");
    return token ? Number(token.dataset.token) : null;
  }

  private pick(event: Event): void {
    const index = this.indexAt(event);
    if (index !== null) this.choose(index);
  }

  private choose(index: number): void {
    if (this.role !== "key") this.host.pickQuery(index);
    else if (this.scene && index < this.scene.site.keys) this.host.pin(index);
  }

  private walk(event: KeyboardEvent): void {
    const { scene } = this;
    if (!scene || event.ctrlKey || event.metaKey || event.altKey) return;
    const { own } = this;
    const [first, last] = this.role === "key" ? [0, scene.site.keys - 1] : queryRange(scene.site);
    const onward = this.flow.dir === "rtl" ? -1 : 1;
    const steps: Record<string, number> = {
      ArrowLeft: own - onward,
      ArrowUp: own - 1,
      ArrowRight: own + onward,
      ArrowDown: own + 1,
      Home: first,
      End: last,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = Math.max(first, Math.min(last, steps[event.key]));
    if (next === own) return;
    if (this.role === "key") this.host.pin(next);
    else this.host.pickQuery(next);
  }

  private hover(event: Event): void {
    const index = this.indexAt(event);
    if (index === null || !this.scene) return;
    this.host.say(said(this.scene, this.role, index));
  }
}
