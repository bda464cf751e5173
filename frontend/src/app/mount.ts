/** The frame: breadcrumb, sentence, ribbon, the level in the middle, the foot. It owns the state; levels draw. */

import { button, h, setAttribute, whenIdle } from "../base/dom";
import type { Ramp } from "../base/scale";
import { type Filter, INITIAL, type LevelName, type Side, type State } from "../base/state";
import type { HeadTensors } from "../data/head-tensors";
import type { Metadata } from "../data/payload";
import type { Source } from "../data/source";
import { type Label, labels } from "../scene/labels";
import type { Actions, Level } from "../scene/level";
import { sentenceOfPair } from "../scene/pair-sentence";
import { type Scene, scene as sceneOf } from "../scene/scene";
import { pythonPanel, savePanel } from "./export/export-panels";
import { Stage } from "./level-host";
import { rung } from "./level-order";
import { type CrumbName, Crumbs } from "./parts/crumbs";
import { Foot } from "./parts/foot";
import { help } from "./parts/help";
import { Hint } from "./parts/hint";
import { Panels } from "./parts/panels";
import { ReceiptView } from "./parts/receipt";
import { Ribbon } from "./parts/ribbon";
import { Story } from "./parts/sentence-bar";
import { Switch } from "./parts/switch";
import { Tools } from "./parts/tools";
import { shadow } from "./shadow";
import { onThemeChange, rampOf, resolve } from "./theme";
import { absent, filtered, fitted, held, nearestHeld, queryRange, siteName, siteOf } from "./validate-state";

export { fail } from "./shadow";

/** How a change came about: by going somewhere, from where one can go back, or by changing what is on screen. */
export type Step = "go" | "set";

export interface View {
  get(): State;
  /** `problems`: what was wrong with the change already, said together with what else is. */
  set(change: Partial<State>, problems?: string[]): void;
  onState(listener: (state: State, step: Step) => void): () => void;
  /** Says something is wrong, in the view itself, until it is dismissed. */
  notice(text: string): void;
  destroy(): void;
}

export interface Options {
  /** "page" fills the window; "cell" grows with its content up to a height. */
  fit: "page" | "cell";
  /** What was wrong with the initial state. */
  problems?: string[];
  /** What is shown where the initial state asks for what does not exist. */
  base?: Partial<State>;
  /** Of a comparison: the switch between its sides, which of them this is, and what both are. */
  sides?: { element: HTMLElement; shown: Side; metas: [Metadata, Metadata] };
  /** The page is this view alone: keys pressed outside of it are meant for it. */
  alone?: boolean;
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

const PLACE = ["stack", "layer", "head"] as const;

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
  private readonly switch: Switch;
  private readonly story: Story;
  private readonly hint = new Hint();
  private readonly receipt = new ReceiptView();
  private readonly foot = new Foot(this.receipt);
  private readonly panels = new Panels();
  private readonly helpOpener: HTMLButtonElement;
  private readonly stage: Stage;
  private ribbonViews: Ribbon[] = [];
  private ribbonTables = "";
  private readonly listeners = new Set<(state: State, step: Step) => void>();
  private readonly cleanup: (() => void)[] = [];
  private cancelPrefetch = () => {};
  private asked = 0;
  /** The place that was asked for and has not come. */
  private awaited: { state: State; step: Step } | null = null;
  private drawn = 0;
  private frame = 0;
  private arriving = true;
  private refocus = false;
  private passing: Element[] = [];
  private heights = "";
  private readonly id = `a${++mounted}`;

  constructor(
    private readonly root: HTMLElement,
    private readonly source: Source,
    private readonly options: Options,
  ) {
    const { meta } = source;
    this.labels = meta.tokens.map(labels);
    this.story = new Story(meta.notes ?? [], this.hint.element);
    const actions: Actions = {
      set: (change) => this.choose(change, "set"),
      go: (change) => this.choose(change, "go"),
      say: (text) => this.foot.say(text),
      notice: (text) => this.notice(text),
    };
    this.stage = new Stage(actions, () => this.viewport(), source);
    this.switch = new Switch(this.stage.has, (level) => this.change({ level }, "go"));
    this.crumbs = new Crumbs({
      meta,
      scene: () => this.scene,
      held: (site) => held(source, site),
      holds: (site, head) => source.live || source.holds(site.index, head),
      choose: (name, value) => this.chooseCrumb(name, value),
    });
    this.helpOpener = this.panels.opener("?", "help", { "data-tool": "help", "aria-keyshortcuts": "?" }, () =>
      help(meta, this.stage.has),
    );
    const scene = () => this.scene as Scene;
    const takeAway = [
      this.panels.opener("save", "save a picture", { "data-tool": "save" }, () =>
        savePanel(scene(), () => this.stage.level?.picture?.() ?? null),
      ),
      this.panels.opener("Python", "copy as Python", { "data-tool": "python" }, () =>
        pythonPanel(scene(), options.sides?.metas),
      ),
      this.helpOpener,
    ];
    this.tools = new Tools(
      meta,
      {
        filter: (filter) => {
          const { queryLabels, keyLabels } = this.scene as Scene;
          this.set(filtered(filter, this.state, queryLabels, keyLabels));
        },
        theme: (theme) => this.set({ theme }),
        special: (special) => this.set({ special }),
        words: (words) => this.set({ words }),
      },
      takeAway,
    );
    // a page of its own has a title; a cell stands under those of its notebook
    const mark = h(options.fit === "page" ? "h1" : "span", { class: "mark" }, "attnscope");
    this.masthead.append(mark, this.crumbs.element, this.tools.page);
    this.masthead.append(
      this.crumbs.about,
      h("div", { class: "second" }, options.sides?.element, this.switch.element, this.tools.element),
    );
    const sheet = h("div", { class: "sheet" });
    sheet.append(this.masthead, this.panels.element, this.receipt.banner, this.notices, this.story.element);
    sheet.append(this.ribbons, this.stage.element, this.foot.element);
    this.scope = h(
      "main",
      { class: `scope fit-${options.fit}`, "aria-label": `attention of ${meta.model.name || "a model"}` },
      sheet,
    );
    shadow(root).append(this.scope);
    this.listen();
  }

  async start(initial: Partial<State>, given: string[], base: Partial<State>): Promise<void> {
    const { source } = this;
    const problems = [...given];
    const before = fitted(source.meta, { ...INITIAL, ...base }, INITIAL, []);
    let state = this.atLevel(fitted(source.meta, { ...INITIAL, ...initial }, before, problems), problems);
    if (!source.live) state = nearestHeld(source, state, problems);
    for (;;) {
      try {
        this.tensors = await source.head(siteOf(source.meta, state).index, state.head);
        break;
      } catch (error) {
        // what is damaged is no longer held: show what is left, and say what is wrong
        const next = source.live ? state : nearestHeld(source, state, []);
        if (next.stack === state.stack && next.layer === state.layer && next.head === state.head) throw error;
        problems.push(`Layer ${siteName(siteOf(source.meta, state), source.meta)}: ${said(error)}`);
        state = next;
      }
    }
    this.state = state;
    this.opening = state.why ? state : null;
    this.applyTheme();
    this.redraw();
    if (problems.length) this.tell(problems);
  }

  get(): State {
    return this.state;
  }

  onState(listener: (state: State, step: Step) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Says something is wrong, in the view itself, until it is dismissed; the same thing once. */
  notice(text: string): void {
    for (const line of this.notices.children) if (line.firstElementChild?.textContent === text) return;
    const line = h("p", { class: "notice" }, h("span", {}, text));
    line.append(button("×", { class: "quiet", "aria-label": "dismiss" }, () => line.remove()));
    this.notices.append(line);
  }

  /** What is wrong with the last change, in place of what was with the one before. */
  private tell(problems: string[]): void {
    for (const line of this.passing) line.remove();
    const before = new Set(this.notices.children);
    for (const text of problems) this.notice(text);
    this.passing = [...this.notices.children].filter((line) => !before.has(line));
  }

  set(change: Partial<State>, given: string[] = []): void {
    this.change(change, "set", given);
  }

  /** Takes what fits, says what does not; waits for data where it must, and keeps what it has until then. */
  private change(change: Partial<State>, step: Step, given: string[] = []): void {
    const { source, awaited, tensors: here } = this;
    const problems = [...given];
    const changed = (from: State, said: string[]) =>
      this.atLevel(fitted(source.meta, { ...from, ...change }, from, said), said);
    if (awaited && here && !PLACE.some((name) => name in change && change[name] !== awaited.state[name])) {
      // not where to look, but how: here at once, and there when it comes
      awaited.state = changed(awaited.state, []);
      this.commit(changed(this.state, problems), here, problems, step);
      return;
    }
    // a place is reached from the one that is waited for, if one is
    const next = changed(awaited?.state ?? this.state, problems);
    const site = siteOf(source.meta, next);
    if (!source.live && !source.holds(site.index, next.head)) {
      this.tell([...problems, absent(source, site, next.head)]);
      this.announce("set");
      return;
    }
    const token = ++this.asked;
    const how = awaited?.step === "go" ? "go" : step;
    this.awaited = null;
    const place = `layer ${siteName(site, source.meta)}, head ${next.head}`;
    const lost = (error: unknown) => {
      if (token !== this.asked) return;
      this.awaited = null;
      this.tell([...problems, `${place[0].toUpperCase()}${place.slice(1)}: ${said(error)}`]);
      this.announce("set");
    };
    try {
      const tensors = source.head(site.index, next.head);
      if (!(tensors instanceof Promise)) {
        this.commit(next, tensors, problems, how);
        return;
      }
      this.awaited = { state: next, step: how };
      const waiting =
        source.live && setTimeout(() => this.tell([`Asking the ${source.who ?? "kernel"} for ${place} …`]), 150);
      tensors
        .finally(() => waiting && clearTimeout(waiting))
        .then((ready) => {
          if (token !== this.asked || !this.awaited) return;
          const { state } = this.awaited;
          this.awaited = null;
          this.commit(state, ready, problems, how);
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
    this.stage.destroy();
    this.story.destroy();
    this.receipt.destroy();
    this.foot.destroy();
    this.listeners.clear();
    this.root.shadowRoot?.replaceChildren();
    delete this.root.dataset.ready;
    delete this.root.dataset.drawn;
  }

  // -- what the reader chooses

  private choose(change: Partial<State>, step: Step): void {
    if (change.key !== undefined) {
      this.pinnedByReader = change.key !== null;
      if (change.key !== null) this.hint.did("number");
    }
    this.change(change, step);
  }

  /** A key that the opening chose gives way to the strongest of the next query; one that the reader pinned stays. */
  private pickQuery(query: number): void {
    const { site, queryLabels } = this.scene as Scene;
    const [first, last] = queryRange(site);
    if (query < first || query > last) {
      this.tell([`${queryLabels[query].text} at ${query} is a key here, not a query: queries are ${first}–${last}.`]);
      return;
    }
    this.hint.did("word");
    const change: Partial<State> = { query };
    if (!this.pinnedByReader) change.key = null;
    const { filter } = this.state;
    if (filter !== "all") change.filter = `${"ab"[queryLabels[query].segment] ?? "a"}${filter[1]}` as Filter;
    this.set(change);
  }

  private chooseCrumb(name: CrumbName, value: string): void {
    if (name === "layer") {
      const site = this.source.meta.sites.find((one) => String(one.index) === value);
      if (site) this.change({ stack: site.stack, layer: site.layer }, "go");
    } else if (name === "query") this.pickQuery(Number(value));
    else if (name === "key") this.choose({ key: value === "" ? null : Number(value) }, "set");
    else this.change({ head: Number(value) }, "go");
  }

  /** One level in or out, with what is selected; false at the end. */
  private step(by: 1 | -1): boolean {
    const level = this.next(by);
    if (level) this.change({ level }, "go");
    return level !== null;
  }

  private atLevel(wanted: State, problems: string[]): State {
    const { sides } = this.options;
    if (!sides && wanted.side !== "a") problems.push("This view shows one trace, so it has no sides to choose from.");
    const state = { ...wanted, side: sides?.shown ?? "a" };
    if (this.stage.has(state.level)) return state;
    problems.push(`There is no level ${state.level} in this view; it shows the level neuron.`);
    return { ...state, level: "neuron" };
  }

  private commit(state: State, tensors: HeadTensors, problems: string[], step: Step): void {
    const themed = state.theme !== this.state.theme;
    this.state = state;
    this.tensors = tensors;
    if (themed) this.applyTheme();
    this.tell(problems);
    this.redraw();
    this.announce(step);
  }

  private announce(step: Step): void {
    for (const listener of this.listeners) listener(this.state, step);
  }

  // -- drawing

  private applyTheme(): void {
    this.scope.dataset.theme = resolve(this.state.theme);
    this.ramp = rampOf(this.scope);
    this.scope.style.setProperty("--ramp", this.ramp.gradient());
  }

  private redraw(): void {
    const { state, tensors, ramp } = this;
    if (!tensors || !ramp) return;
    const dimSpecial = state.special === "hide";
    const scene = sceneOf(this.source.meta, tensors, state, this.labels, { ramp, dimSpecial });
    this.scene = scene;
    this.scope.classList.toggle("dim-special", dimSpecial);
    const level = this.show(state.level);
    this.tools.show(state, level);
    this.switch.show(state.level);
    this.crumbs.show(scene);
    const own = scene.pair && state.level !== "model" ? sentenceOfPair(scene, scene.pair) : level.sentence?.(scene);
    this.story.draw(scene, this.opening, own ?? null);
    this.drawRibbons(scene);
    this.receipt.draw(scene);
    this.foot.sayKeys(level.keys, this.next(1) !== null, this.escapes());
    if (this.drawn === 0) {
      // the level asks for these sizes: known before it is there, they are asked for once
      this.foot.draw(scene, level);
      this.measure();
    }
    level.draw(scene);
    this.foot.draw(scene, level);
    if (this.drawn === 0) this.lookNow(); // laid out while the first frame is waited for, not in it
    this.root.dataset.drawn = String(++this.drawn);
    this.root.dataset.ready = "";
    this.look();
    this.prefetch(scene);
  }

  /** Puts a level into the middle. What lies above it stays where it is; the keyboard goes on in it. */
  private show(name: LevelName): Level {
    const { stage, scope } = this;
    const before = stage.level;
    if (before?.name === name) return before;
    const inside = before?.element.matches(":focus-within") ?? false;
    const top = before ? stage.element.offsetTop - this.masthead.offsetHeight : 0;
    stage.show(name);
    scope.dataset.shows = name;
    if (before) {
      this.panels.close();
      if (scope.scrollTop > top) scope.scrollTop = Math.max(0, top);
      this.arriving = true;
      this.refocus = inside;
    }
    return stage.level as Level;
  }

  private next(by: 1 | -1): LevelName | null {
    return rung(this.state.level, by, this.stage.has, this.stage.drawing);
  }

  /** What Escape does, in words. */
  private escapes(): string | null {
    const out = this.next(-1) && "goes out";
    if (this.state.level !== "neuron" || this.state.key === null) return out;
    return out ? "unpins, then goes out" : "unpins";
  }

  private drawRibbons(scene: Scene): void {
    const { query_tokens: queries, key_tokens: keys } = scene.site;
    if (this.ribbonTables !== `${queries},${keys}`) {
      this.ribbonTables = `${queries},${keys}`;
      const host = {
        pickQuery: (query: number) => this.pickQuery(query),
        pin: (key: number) => this.choose({ key }, "set"),
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
    this.scope.addEventListener("keydown", (event) => this.onKey(event));
    const onKey = (event: KeyboardEvent) => {
      if (event.target === document.body) this.onKey(event);
    };
    if (this.options.alone) addEventListener("keydown", onKey);
    this.cleanup.push(
      () => sizes.disconnect(),
      () => removeEventListener("scroll", look, { capture: true }),
      () => removeEventListener("resize", look),
      () => removeEventListener("keydown", onKey),
      onThemeChange(() => {
        if (resolve(this.state.theme) === this.scope.dataset.theme) return;
        this.applyTheme();
        this.redraw();
      }),
    );
  }

  private onKey(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0] as Element;
    const writes = target.matches?.("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") this.escape();
    else if (event.key === "?" && !writes) this.helpOpener.click();
    else if (event.key === "Enter" && !writes && !target.closest?.("button, a, input, [data-panel]")) this.step(1);
    else return;
    event.preventDefault();
  }

  /** Closes what lies open, one after another; then it unpins; then it goes one level out. */
  private escape(): void {
    const { level } = this.stage;
    if (this.panels.close() || this.receipt.close() || this.crumbs.close() || level?.close()) return;
    if (level?.name === "neuron" && this.state.key !== null) {
      this.choose({ key: null }, "set");
      return;
    }
    if (this.step(-1)) this.hint.did("out");
  }

  /** With the next frame, when everything is laid out: what needs to know where things are. */
  private look(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.lookNow();
      if (this.refocus) this.stage.focus();
      this.refocus = false;
      if (!this.arriving) return;
      this.arriving = false;
      // a frame later all sizes are measured, and sticky parts stand where they will stay
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        if (!this.scope.hasAttribute("data-low")) this.stage.level?.arrive(this.scope);
      });
    });
  }

  private lookNow(): void {
    if (this.scope.clientWidth === 0) return; // a frame that has no size yet: it is measured when it gets one
    for (const ribbon of this.ribbonViews) ribbon.look();
    this.stage.level?.look();
  }

  /** Sticky parts stand below and above each other: each needs to know how tall the others are. */
  private measure(): void {
    const masthead = this.masthead.offsetHeight;
    const sticky = () => getComputedStyle(this.masthead).position === "sticky";
    const foot = this.foot.element.offsetHeight;
    const height = Math.min(this.scope.clientHeight || innerHeight, innerHeight);
    const heights = `${masthead},${foot},${height}`;
    if (heights === this.heights) return;
    this.heights = heights;
    setAttribute(this.scope, "data-low", height < 620 ? "" : null);
    // asked before the sizes are written, which restyle all within
    const bar = sticky() ? masthead : 0;
    for (const { style } of [this.panels.element, this.stage.element]) {
      style.setProperty("--sight", `${height}px`);
      style.setProperty("--foot", `${foot}px`);
      style.setProperty("--bar", `${bar}px`);
    }
    this.look();
  }

  private viewport(): { top: number; bottom: number } {
    const { top, bottom } = this.scope.getBoundingClientRect();
    return { top: Math.max(0, top), bottom: Math.min(innerHeight, bottom) };
  }
}

const said = (error: unknown) => (error instanceof Error ? error.message : String(error));
