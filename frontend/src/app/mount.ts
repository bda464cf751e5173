/** The frame: breadcrumb, sentence, ribbon, the level in the middle, the foot. It owns the state; levels draw. */
import { button, h, setAttribute, whenIdle } from "../dom";
import type { HeadTensors } from "../head";
import { NeuronLevel } from "../levels/neuron";
import type { Ramp } from "../scale";
import { type Actions, type Scene, scene as sceneOf } from "../scene";
import type { Source } from "../source";
import { type Filter, INITIAL, type State } from "../state";
import { type Label, labels } from "../tokens";
import { type CrumbName, Crumbs } from "./crumbs";
import { Foot } from "./foot";
import { absent, filtered, firstHeld, fitted, held, queryRange, siteName, siteOf } from "./place";
import { ReceiptView } from "./receipt";
import { Ribbon } from "./ribbon";
import { shadow } from "./shadow";
import { Story } from "./story";
import { onThemeChange, rampOf, resolve } from "./theme";
import { Tools } from "./tools";

export { fail } from "./shadow";

export interface View {
  get(): State;
  /** `problems`: what was wrong with the change already, said together with what else is. */
  set(change: Partial<State>, problems?: string[]): void;
  onState(listener: (state: State) => void): () => void;
  destroy(): void;
}

export interface Options {
  /** "page" fills the window; "cell" grows with its content up to a height. */
  fit: "page" | "cell";
  /** What was wrong with the initial state. */
  problems?: string[];
  /** What is shown where the initial state asks for what does not exist. */
  base?: Partial<State>;
}

let mounted = 0;

export async function mount(
  root: HTMLElement,
  source: Source,
  initial: Partial<State>,
  options: Options,
): Promise<View> {
  const app = new App(root, source, options);
  await app.start(initial, options.problems ?? [], options.base ?? {});
  return app;
}

class App implements View {
  private state: State = INITIAL;
  /** The place that was chosen for the reader, while it explains itself. */
  private opening: State | null = null;
  private pinnedByReader = false;
  private tensors: HeadTensors | null = null;
  private scene: Scene | null = null;
  private ramp: Ramp | null = null;
  private readonly labels: Label[][];
  private readonly scope: HTMLElement;
  private readonly masthead = h("header", { class: "masthead" });
  private readonly notices = h("div", { class: "notices", role: "status", "data-notices": true });
  private readonly ribbons = h("div", { class: "ribbons" });
  private readonly crumbs: Crumbs;
  private readonly tools: Tools;
  private readonly story: Story;
  private readonly receipt = new ReceiptView();
  private readonly foot = new Foot(this.receipt);
  private readonly level: NeuronLevel;
  private ribbonViews: Ribbon[] = [];
  private ribbonTables = "";
  private readonly listeners = new Set<(state: State) => void>();
  private readonly cleanup: (() => void)[] = [];
  private cancelPrefetch = () => {};
  private asked = 0;
  private drawn = 0;
  private frame = 0;
  private arriving = true;
  private heights = "";
  private readonly id = `a${++mounted}`;

  constructor(
    private readonly root: HTMLElement,
    private readonly source: Source,
    options: Options,
  ) {
    const { meta } = source;
    this.labels = meta.tokens.map(labels);
    this.story = new Story(meta.notes ?? []);
    const actions: Actions = { set: (change) => this.choose(change), say: (text) => this.foot.say(text) };
    this.level = new NeuronLevel(actions, () => this.viewport());
    this.crumbs = new Crumbs({
      meta,
      scene: () => this.scene,
      held: (site) => held(source, site),
      holds: (site, head) => source.live || source.holds(site.index, head),
      choose: (name, value) => this.chooseCrumb(name, value),
    });
    this.tools = new Tools(meta, this.level.tools, {
      filter: (filter) => {
        const { queryLabels, keyLabels } = this.scene as Scene;
        this.set(filtered(filter, this.state, queryLabels, keyLabels));
      },
      theme: (theme) => this.set({ theme }),
      dim: () => this.redraw(),
    });
    this.masthead.append(h("span", { class: "mark" }, "attnscope"), this.crumbs.element, this.tools.element);
    this.masthead.append(this.crumbs.about);
    const sheet = h("div", { class: "sheet" });
    sheet.append(this.masthead, this.receipt.banner, this.notices, this.story.element, this.ribbons);
    sheet.append(h("div", { class: "middle" }, this.level.element), this.foot.element);
    this.scope = h(
      "main",
      { class: `scope fit-${options.fit}`, "aria-label": `attention of ${meta.model.name}` },
      sheet,
    );
    shadow(root).append(this.scope);
    this.listen();
  }

  async start(initial: Partial<State>, given: string[], base: Partial<State>): Promise<void> {
    const { source } = this;
    const problems = [...given];
    const before = fitted(source.meta, { ...INITIAL, ...base }, INITIAL, []);
    let state = fitted(source.meta, { ...INITIAL, ...initial }, before, problems);
    if (!source.live) state = this.nearestHeld(state, problems);
    this.state = state;
    this.opening = state.why ? state : null;
    this.applyTheme();
    this.tensors = await source.head(siteOf(source.meta, state).index, state.head);
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

  /** Says something is wrong, in the view itself. */
  private tell(problems: string[]): void {
    const notice = (text: string) => {
      const line = h("p", { class: "notice" }, h("span", {}, text));
      line.append(button("×", { class: "quiet", "aria-label": "dismiss" }, () => line.remove()));
      return line;
    };
    this.notices.replaceChildren(...problems.map(notice));
  }

  /** Takes what fits, says what does not; waits for data where it must, and keeps what it has until then. */
  set(change: Partial<State>, given: string[] = []): void {
    const { source } = this;
    const problems = [...given];
    const next = fitted(source.meta, { ...this.state, ...change }, this.state, problems);
    const site = siteOf(source.meta, next);
    const token = ++this.asked;
    if (!source.live && !source.holds(site.index, next.head)) {
      this.tell([...problems, absent(source, site, next.head)]);
      this.announce();
      return;
    }
    const lost = (error: unknown) => {
      if (token !== this.asked) return;
      this.tell([error instanceof Error ? error.message : String(error)]);
      this.announce();
    };
    try {
      const tensors = source.head(site.index, next.head);
      if (!(tensors instanceof Promise)) {
        this.commit(next, tensors, problems);
        return;
      }
      const place = `layer ${siteName(site, source.meta)}, head ${next.head}`;
      const waiting = source.live && setTimeout(() => this.tell([`Asking the kernel for ${place} …`]), 150);
      tensors
        .finally(() => waiting && clearTimeout(waiting))
        .then((ready) => {
          if (token === this.asked) this.commit(next, ready, problems);
        })
        .catch(lost);
    } catch (error) {
      lost(error);
    }
  }

  destroy(): void {
    this.asked++;
    this.cancelPrefetch();
    cancelAnimationFrame(this.frame);
    for (const undo of this.cleanup) undo();
    this.level.destroy();
    this.story.destroy();
    this.receipt.destroy();
    this.foot.destroy();
    this.listeners.clear();
    this.root.shadowRoot?.replaceChildren();
    delete this.root.dataset.ready;
    delete this.root.dataset.drawn;
  }

  // -- what the reader chooses

  private choose(change: Partial<State>): void {
    if (change.key !== undefined) this.pinnedByReader = change.key !== null;
    this.set(change);
  }

  /** A key that the opening chose gives way to the strongest of the next query; one that the reader pinned stays. */
  private pickQuery(query: number): void {
    const { site, queryLabels } = this.scene as Scene;
    const [first, last] = queryRange(site);
    if (query < first || query > last) {
      this.tell([`${queryLabels[query].text} at ${query} is a key here, not a query: queries are ${first}–${last}.`]);
      return;
    }
    const change: Partial<State> = { query };
    if (!this.pinnedByReader) change.key = null;
    const { filter } = this.state;
    if (filter !== "all") change.filter = `${"ab"[queryLabels[query].segment] ?? "a"}${filter[1]}` as Filter;
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

  /** A page may open on a layer or a head that it does not hold: show what it does hold, and say so. */
  private nearestHeld(state: State, problems: string[]): State {
    const { source } = this;
    const site = siteOf(source.meta, state);
    if (source.holds(site.index, state.head)) return state;
    const other = held(source, site) ? site : source.meta.sites.find((one) => held(source, one));
    if (!other) return state;
    problems.push(absent(source, site, state.head));
    const head = source.holds(other.index, state.head) ? state.head : (firstHeld(source, other) ?? 0);
    return fitted(source.meta, { ...state, stack: other.stack, layer: other.layer, head }, state, problems);
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
    const { dimSpecial } = this.tools;
    const scene = sceneOf(this.source.meta, tensors, state, this.labels, { ramp, dimSpecial });
    this.scene = scene;
    this.scope.classList.toggle("dim-special", dimSpecial);
    this.tools.show(state);
    this.crumbs.show(scene);
    this.story.draw(scene, this.opening);
    this.drawRibbons(scene);
    this.level.draw(scene);
    this.receipt.draw(scene);
    this.foot.draw(scene);
    this.root.dataset.drawn = String(++this.drawn);
    this.root.dataset.ready = "";
    this.look();
    this.prefetch(scene);
  }

  private drawRibbons(scene: Scene): void {
    const { query_tokens: queries, key_tokens: keys } = scene.site;
    if (this.ribbonTables !== `${queries},${keys}`) {
      this.ribbonTables = `${queries},${keys}`;
      const host = {
        pickQuery: (query: number) => this.pickQuery(query),
        pin: (key: number) => this.choose({ key }),
        say: (text: string) => this.foot.say(text),
      };
      this.ribbonViews =
        queries === keys
          ? [new Ribbon("both", null, host, `${this.id}b`)]
          : [new Ribbon("query", "queries", host, `${this.id}q`), new Ribbon("key", "keys", host, `${this.id}k`)];
      this.ribbons.replaceChildren(...this.ribbonViews.map((ribbon) => ribbon.element));
    }
    for (const ribbon of this.ribbonViews) ribbon.draw(scene);
  }

  /** Other layers of this head are likely next: unpack them while nobody waits, the nearest first. */
  private prefetch(scene: Scene): void {
    this.cancelPrefetch();
    if (this.source.live) return;
    const { site, state } = scene;
    const near = this.source.meta.sites
      .filter((one) => one.stack === site.stack && one !== site && this.source.holds(one.index, state.head))
      .sort((a, b) => Math.abs(a.layer - site.layer) - Math.abs(b.layer - site.layer));
    const next = () => {
      const one = near.shift();
      if (!one) return;
      this.cancelPrefetch = whenIdle(() => {
        // a damaged block is said when it is wanted
        Promise.resolve(this.source.head(one.index, state.head)).then(next, () => {});
      });
    };
    next();
  }

  // -- place on the screen

  private listen(): void {
    const look = () => this.look();
    const sizes = new ResizeObserver(() => this.measure());
    for (const element of [this.masthead, this.foot.element, this.scope]) sizes.observe(element);
    addEventListener("scroll", look, { capture: true, passive: true });
    addEventListener("resize", look, { passive: true });
    this.scope.addEventListener("scroll", look, { passive: true });
    this.scope.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.escape();
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

  /** Closes what lies open, one after another; with nothing open it unpins. */
  private escape(): void {
    if (this.receipt.close() || this.crumbs.close() || this.level.close()) return;
    if (this.state.key !== null) this.choose({ key: null });
  }

  /** With the next frame, when everything is laid out: what needs to know where things are. */
  private look(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      for (const ribbon of this.ribbonViews) ribbon.look();
      this.level.look();
      if (!this.arriving) return;
      this.arriving = false;
      // a frame later all sizes are measured, and sticky parts stand where they will stay
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        if (!this.scope.hasAttribute("data-low")) this.level.arrive(this.scope);
      });
    });
  }

  /** Sticky parts stand below and above each other: each needs to know how tall the others are. */
  private measure(): void {
    const masthead = this.masthead.offsetHeight;
    const foot = this.foot.element.offsetHeight;
    const height = Math.min(this.scope.clientHeight || innerHeight, innerHeight);
    const heights = `${masthead},${foot},${height}`;
    if (heights === this.heights) return;
    this.heights = heights;
    this.scope.style.setProperty("--bar", `${masthead}px`);
    this.scope.style.setProperty("--foot", `${foot}px`);
    setAttribute(this.scope, "data-low", height < 620 ? "" : null);
    this.look();
  }

  private viewport(): { top: number; bottom: number } {
    const { top, bottom } = this.scope.getBoundingClientRect();
    return { top: Math.max(0, top), bottom: Math.min(innerHeight, bottom) };
  }
}
