/** The frame: breadcrumb, sentence, ribbon, the level in the middle, the foot. It owns the state and the data; levels draw. */
import { button, h, setAttribute, setText, whenIdle } from "../dom";
import type { HeadTensors } from "../head";
import { NeuronLevel } from "../levels/neuron";
import type { Site } from "../payload";
import type { Ramp } from "../scale";
import { type Actions, type Scene, scene as sceneOf } from "../scene";
import { asText, sentence } from "../sentence";
import type { Source } from "../source";
import { FILTERS, type Filter, INITIAL, type State, type Theme } from "../state";
import css from "../style.css";
import { type Label, labels } from "../tokens";
import { percent, ranges } from "../words";
import { type CrumbName, Crumbs, siteName } from "./crumbs";
import { Foot } from "./foot";
import { ReceiptView } from "./receipt";
import { Ribbon } from "./ribbon";
import { onThemeChange, rampOf, resolve } from "./theme";

export interface View {
  get(): State;
  set(change: Partial<State>): void;
  onState(listener: (state: State) => void): () => void;
  /** Says something is wrong, in the view itself. */
  tell(problems: string[]): void;
  destroy(): void;
}

export interface Options {
  /** "page" fills the window; "cell" grows with its content up to a height. */
  fit: "page" | "cell";
}

let sheet: CSSStyleSheet | null = null;
let mounted = 0;

/** A shadow root with our own styles: nothing of the host reaches in, nothing of ours leaks out. */
function shadow(root: HTMLElement): ShadowRoot {
  const inside = root.shadowRoot ?? root.attachShadow({ mode: "open" });
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
  }
  inside.adoptedStyleSheets = [sheet];
  inside.replaceChildren();
  return inside;
}

/** Where nothing can be drawn: say why, in place of the view. */
export function fail(root: HTMLElement, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  const theme = resolve("auto");
  shadow(root).append(
    h("div", { class: "scope failed", "data-theme": theme }, h("div", { role: "alert", class: "alert", "data-alert": true }, h("b", {}, "This view cannot be drawn. "), message)),
  );
  root.dataset.failed = "";
}

export async function mount(root: HTMLElement, source: Source, initial: Partial<State>, options: Options): Promise<View> {
  const app = new App(root, source, options);
  await app.start(initial);
  return app;
}

class App implements View {
  private state: State = INITIAL;
  private opening: State | null = null;
  private chosenByReader = false;
  private tensors: HeadTensors | null = null;
  private scene: Scene | null = null;
  private ramp: Ramp | null = null;
  private readonly labels: Label[][];
  private readonly scope: HTMLElement;
  private readonly bar = h("header", { class: "masthead" });
  private readonly crumbs: Crumbs;
  private readonly sentence = h("p", { class: "sentence", "data-sentence": true, role: "status" });
  private readonly why = h("p", { class: "why", "data-why": true });
  private readonly notices = h("div", { class: "notices", role: "status", "data-notices": true });
  private readonly summary = h("p", { class: "unseen", "data-summary": true });
  private readonly ribbons = h("div", { class: "ribbons" });
  private ribbonViews: Ribbon[] = [];
  private ribbonKind = "";
  private readonly filter: HTMLSelectElement;
  private readonly theme: HTMLSelectElement;
  private readonly dim: HTMLInputElement;
  private readonly receipt = new ReceiptView();
  private readonly foot = new Foot(this.receipt);
  private readonly level: NeuronLevel;
  private readonly listeners = new Set<(state: State) => void>();
  private readonly cleanup: (() => void)[] = [];
  private asking = 0;
  private drawn = 0;
  private cancelPrefetch = () => {};
  private readonly id = `a${++mounted}`;

  constructor(
    private readonly root: HTMLElement,
    private readonly source: Source,
    options: Options,
  ) {
    const { meta } = source;
    this.labels = meta.tokens.map(labels);
    const actions: Actions = { set: (change) => this.choose(change), say: (text) => this.foot.say(text), redraw: () => this.offsets() };
    this.crumbs = new Crumbs({
      meta,
      scene: () => this.scene,
      held: (site) => this.heldOf(site),
      choose: (name, value) => this.chooseCrumb(name, value),
    });
    this.level = new NeuronLevel(actions, () => this.viewport());
    const segments = new Set(meta.tokens[0].segments).size > 1;
    const names: Record<Filter, string> = { all: "all pairs", aa: "A → A", ab: "A → B", ba: "B → A", bb: "B → B" };
    this.filter = h("select", { "aria-label": "sentence pair: query → key", "data-tool": "filter" }, ...FILTERS.map((value) => h("option", { value }, names[value])));
    this.filter.addEventListener("change", () => this.chooseFilter(this.filter.value as Filter));
    this.theme = h("select", { "aria-label": "theme", "data-tool": "theme" }, h("option", { value: "auto" }, "system theme"), h("option", { value: "light" }, "light"), h("option", { value: "dark" }, "dark"));
    this.theme.addEventListener("change", () => this.set({ theme: this.theme.value as Theme }));
    this.dim = h("input", { type: "checkbox", "data-tool": "dim" });
    this.dim.addEventListener("change", () => this.redraw());
    const special = meta.tokens.some((table) => table.special.includes(true));
    const tools = h("div", { class: "tools" }, segments && this.filter, special && h("label", { class: "tool check" }, this.dim, "dim special"), ...this.level.tools, this.theme);
    this.bar.append(h("span", { class: "mark" }, "attnscope"), this.crumbs.element, tools);
    this.scope = h(
      "main",
      { class: `scope fit-${options.fit}`, "aria-label": `attention of ${meta.model.name}` },
      h("div", { class: "sheet" }, this.bar, this.crumbs.about, this.receipt.banner, this.notices, h("div", { class: "say" }, this.sentence, this.why), this.summary, this.ribbons, h("div", { class: "middle" }, this.level.element), this.foot.element),
    );
    shadow(root).append(this.scope);
    this.listen();
  }

  async start(initial: Partial<State>): Promise<void> {
    const problems: string[] = [];
    let state = this.fitted({ ...INITIAL, ...initial }, problems);
    if (!this.heldOf(this.siteOf(state)) && !this.source.live) {
      const held = this.source.meta.sites.find((site) => this.heldOf(site));
      if (held) {
        problems.push(this.absent(this.siteOf(state)));
        state = this.fitted({ ...state, stack: held.stack, layer: held.layer }, problems);
      }
    }
    if (!this.source.holds(this.siteOf(state).index, state.head) && !this.source.live) {
      const heads = this.source.meta.sites.find((site) => site.index === this.siteOf(state).index)?.heads ?? 0;
      const head = Array.from({ length: heads }, (_, i) => i).find((i) => this.source.holds(this.siteOf(state).index, i));
      if (head !== undefined) state = { ...state, head };
    }
    this.opening = state.why ? state : null;
    this.state = state;
    this.applyTheme();
    this.tensors = await this.source.head(this.siteOf(state).index, state.head);
    this.redraw();
    if (problems.length) this.tell(problems);
  }

  get(): State {
    return this.state;
  }

  onState(listener: (state: State) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell(problems: string[]): void {
    this.notices.replaceChildren(
      ...problems.map((text) => {
        const line: HTMLElement = h("p", { class: "notice" }, h("span", {}, text), button("×", { class: "quiet", "aria-label": "dismiss" }, () => line.remove()));
        return line;
      }),
    );
  }

  /** Takes what fits, says what does not; waits for data where it must and keeps what it has until then. */
  set(change: Partial<State>): void {
    const problems: string[] = [];
    const next = this.fitted({ ...this.state, ...change }, problems);
    const site = this.siteOf(next);
    const token = ++this.asking;
    if (!this.source.holds(site.index, next.head) && !this.source.live) {
      this.tell([...problems, this.absent(site)]);
      this.announce();
      return;
    }
    let tensors: HeadTensors | Promise<HeadTensors>;
    try {
      tensors = this.source.head(site.index, next.head);
    } catch (error) {
      return this.lost(error);
    }
    if (!(tensors instanceof Promise)) return this.commit(next, tensors, problems);
    const waiting = setTimeout(() => {
      if (token === this.asking && !this.source.holds(site.index, next.head)) this.tell([`Asking the kernel for layer ${siteName(site, this.source.meta)}, head ${next.head} …`]);
    }, 150);
    tensors.then(
      (ready) => {
        clearTimeout(waiting);
        if (token === this.asking) this.commit({ ...next, theme: this.state.theme }, ready, problems);
      },
      (error) => {
        clearTimeout(waiting);
        if (token === this.asking) this.lost(error);
      },
    );
  }

  destroy(): void {
    this.asking++;
    this.cancelPrefetch();
    for (const undo of this.cleanup) undo();
    this.level.destroy();
    this.receipt.destroy();
    this.foot.destroy();
    this.listeners.clear();
    this.root.shadowRoot?.replaceChildren();
    delete this.root.dataset.ready;
    delete this.root.dataset.drawn;
  }

  // -- state

  private choose(change: Partial<State>): void {
    if (change.key !== undefined) this.chosenByReader = true;
    this.set(change);
  }

  /** A key that the opening chose gives way to the strongest of the next query; one that the reader pinned stays. */
  private pickQuery(query: number): void {
    const { filter } = this.state;
    const { site, queryLabels } = this.scene as Scene;
    const change: Partial<State> = { query };
    if (!this.chosenByReader) change.key = null;
    if (filter !== "all") change.filter = `${"ab"[queryLabels[query].segment] ?? "a"}${filter[1]}` as Filter;
    if (query < site.queries) this.set(change);
  }

  private chooseFilter(filter: Filter): void {
    const change: Partial<State> = { filter };
    const { queryLabels, query } = this.scene as Scene;
    if (filter !== "all" && "ab"[queryLabels[query].segment] !== filter[0]) {
      const wanted = queryLabels.find((label) => "ab"[label.segment] === filter[0] && !label.special);
      if (wanted) change.query = wanted.index;
    }
    if (filter !== "all" && this.state.key !== null && "ab"[(this.scene as Scene).keyLabels[this.state.key].segment] !== filter[1]) change.key = null;
    this.set(change);
  }

  private chooseCrumb(name: CrumbName, value: string): void {
    if (name === "layer") {
      const site = this.source.meta.sites.find((one) => String(one.index) === value);
      if (site) this.set({ stack: site.stack, layer: site.layer });
    } else if (name === "query") this.pickQuery(Number(value));
    else if (name === "key") this.choose({ key: value === "" ? null : Number(value) });
    else this.set({ head: Number(value) });
  }

  private siteOf(state: State): Site {
    const { sites } = this.source.meta;
    return sites.find((site) => site.stack === state.stack && site.layer === state.layer) ?? sites[0];
  }

  private heldOf(site: Site): boolean {
    return Array.from({ length: site.heads }, (_, head) => head).some((head) => this.source.holds(site.index, head));
  }

  /** The nearest state that exists, and why it is not the one that was asked for. */
  private fitted(wanted: State, problems: string[]): State {
    const { sites } = this.source.meta;
    const state = { ...wanted };
    const stacks = [...new Set(sites.map((site) => site.stack))];
    if (!stacks.includes(state.stack)) {
      if (state.stack !== null) problems.push(`There is no stack “${state.stack}” here${stacks[0] === null ? "" : `; there is ${stacks.join(", ")}`}.`);
      state.stack = stacks.includes(this.state.stack) ? this.state.stack : stacks[0];
    }
    const layers = sites.filter((site) => site.stack === state.stack).map((site) => site.layer);
    const fallback = (n: number, valid: (n: number) => boolean) => (valid(n) ? n : 0);
    if (!layers.includes(state.layer)) {
      const kept = layers.includes(this.state.layer) ? this.state.layer : layers[0];
      problems.push(`Layer ${state.layer} does not exist: layers are ${ranges(layers)}. Showing layer ${kept}.`);
      state.layer = kept;
    }
    const site = this.siteOf(state);
    if (state.head >= site.heads) {
      const kept = fallback(this.state.head, (n) => n < site.heads);
      problems.push(`Head ${state.head} does not exist: heads are 0–${site.heads - 1}. Showing head ${kept}.`);
      state.head = kept;
    }
    if (state.query >= site.queries) {
      if (state.query !== this.state.query) problems.push(`Position ${state.query} does not exist: queries are 0–${site.queries - 1}.`);
      state.query = fallback(this.state.query, (n) => n < site.queries);
    }
    if (state.key !== null && state.key >= site.keys) {
      if (state.key !== this.state.key) problems.push(`Position ${state.key} does not exist: keys are 0–${site.keys - 1}.`);
      state.key = null;
    }
    if (state.filter !== "all" && new Set(this.source.meta.tokens[0].segments).size < 2) state.filter = "all";
    return state;
  }

  /** What to say where a layer is not in this page, and how to get it. */
  private absent(site: Site): string {
    const { meta } = this.source;
    const held = meta.sites.filter((one) => this.heldOf(one));
    const stacks = [...new Set(held.map((one) => one.stack))];
    const names = stacks.map((stack) => `${stack ? `${stack} ` : ""}${ranges(held.filter((one) => one.stack === stack).map((one) => one.layer))}`);
    return `Layer ${siteName(site, meta)} is not in this page, which holds ${held.length === 1 ? "layer" : "layers"} ${names.join("; ")}. To see it, open the view there: trace.show(layer=${site.layer}${site.stack ? `, stack="${site.stack}"` : ""}), or attnscope show … --layer ${site.layer}; a larger max_mb holds more layers.`;
  }

  private commit(state: State, tensors: HeadTensors, problems: string[]): void {
    const themed = state.theme !== this.state.theme;
    this.state = state;
    this.tensors = tensors;
    if (themed) this.applyTheme();
    this.tell(problems);
    this.redraw();
    this.announce();
  }

  private lost(error: unknown): void {
    this.tell([`${error instanceof Error ? error.message : String(error)}`]);
    this.announce();
  }

  private announce(): void {
    for (const listener of this.listeners) listener(this.state);
  }

  // -- drawing

  private applyTheme(): void {
    this.scope.dataset.theme = resolve(this.state.theme);
    this.ramp = rampOf(this.scope);
  }

  private redraw(): void {
    const { state, tensors, ramp } = this;
    if (!tensors || !ramp) return;
    const scene = sceneOf(this.source.meta, tensors, state, this.labels, { ramp, dimSpecial: this.dim.checked });
    this.scene = scene;
    this.scope.classList.toggle("dim-special", this.dim.checked);
    this.filter.value = state.filter;
    this.theme.value = state.theme;
    this.crumbs.show(scene);
    this.drawSentence(scene);
    this.drawRibbons(scene);
    this.level.draw(scene);
    this.receipt.draw(scene);
    this.foot.draw(scene);
    this.offsets();
    this.drawn++;
    this.root.dataset.drawn = String(this.drawn);
    this.root.dataset.ready = "";
    this.prefetch(scene);
  }

  private drawSentence(scene: Scene): void {
    const parts = sentence(scene);
    this.sentence.replaceChildren(
      ...parts.map((part) => (typeof part === "string" ? document.createTextNode(part) : h("span", { class: part.key === null ? "tok subject" : part.special ? "tok special" : "tok", dir: "auto" }, part.token))),
    );
    const { state, opening } = this;
    const here = opening && state.stack === opening.stack && state.layer === opening.layer && state.head === opening.head && state.query === opening.query;
    setText(this.why, here && opening.why ? opening.why : "");
    this.why.hidden = !this.why.textContent;
    const top = Array.from(scene.chain.weights.keys()).sort((a, b) => scene.chain.weights[b] - scene.chain.weights[a]).slice(0, 8);
    const each = top.map((key) => `${scene.keyLabels[key].text} ${percent(scene.chain.weights[key])}`).join(", ");
    setText(this.summary, `Layer ${state.layer}, head ${state.head}, query ${scene.query}. ${asText(parts)} Strongest keys: ${each}.`);
  }

  private drawRibbons(scene: Scene): void {
    const cross = scene.site.query_tokens !== scene.site.key_tokens;
    const kind = `${scene.site.query_tokens},${scene.site.key_tokens}`;
    if (kind !== this.ribbonKind) {
      this.ribbonKind = kind;
      const host = { pickQuery: (query: number) => this.pickQuery(query), pin: (key: number) => this.choose({ key }), say: (text: string) => this.foot.say(text) };
      this.ribbonViews = cross
        ? [new Ribbon("query", "queries", host, `${this.id}q`), new Ribbon("key", "keys", host, `${this.id}k`)]
        : [new Ribbon("both", null, host, `${this.id}b`)];
      this.ribbons.replaceChildren(...this.ribbonViews.map((ribbon) => ribbon.element));
    }
    for (const ribbon of this.ribbonViews) ribbon.draw(scene);
  }

  /** Other layers of this head are likely next: unpack them while nobody waits. */
  private prefetch(scene: Scene): void {
    this.cancelPrefetch();
    if (this.source.live) return;
    const near = this.source.meta.sites
      .filter((site) => site.stack === scene.site.stack && site.index !== scene.site.index && this.source.holds(site.index, scene.state.head))
      .sort((a, b) => Math.abs(a.layer - scene.site.layer) - Math.abs(b.layer - scene.site.layer))
      .slice(0, 3);
    const next = () => {
      const site = near.shift();
      if (!site) return;
      this.cancelPrefetch = whenIdle(() => {
        Promise.resolve(this.source.head(site.index, scene.state.head)).then(next, () => {});
      });
    };
    next();
  }

  // -- place on the screen

  private listen(): void {
    const look = () => this.level.look();
    const sizes = new ResizeObserver(() => this.offsets());
    for (const element of [this.bar, this.foot.element, this.scope]) sizes.observe(element);
    addEventListener("scroll", look, { capture: true, passive: true });
    addEventListener("resize", look, { passive: true });
    this.scope.addEventListener("scroll", look, { passive: true });
    this.scope.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.state.key === null) return;
      this.chosenByReader = false;
      this.set({ key: null });
    });
    this.cleanup.push(
      () => sizes.disconnect(),
      () => removeEventListener("scroll", look, { capture: true }),
      () => removeEventListener("resize", look),
      onThemeChange(() => {
        if (resolve(this.state.theme) === this.scope.dataset.theme) return;
        this.applyTheme();
        this.redraw();
      }),
    );
  }

  private sizes = "";

  /** Sticky parts stand below and above each other: each needs to know how tall the others are. */
  private offsets(): void {
    const bar = this.bar.offsetHeight;
    const foot = this.foot.element.offsetHeight;
    const height = Math.min(this.scope.clientHeight || innerHeight, innerHeight);
    const sizes = `${bar},${foot},${height}`;
    if (sizes === this.sizes) return;
    this.sizes = sizes;
    this.scope.style.setProperty("--bar", `${bar}px`);
    this.scope.style.setProperty("--foot", `${foot}px`);
    setAttribute(this.scope, "data-low", height < 620 ? "" : null);
    this.level.look();
  }

  private viewport(): { top: number; bottom: number } {
    const { top, bottom } = this.scope.getBoundingClientRect();
    return { top: Math.max(0, top), bottom: Math.min(innerHeight, bottom) };
  }
}
