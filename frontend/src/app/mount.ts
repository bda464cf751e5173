/** The frame: breadcrumb, sentence, ribbon, the level in the middle, the foot. It owns the state; levels draw. */

import { h } from "../base/dom";
import type { Ramp } from "../base/scale";
import type { LevelName, State } from "../base/state";
import type { Source } from "../data/source";
import { type Label, labels } from "../scene/labels";
import type { Actions, Level } from "../scene/level";
import { sentenceOfPair } from "../scene/pair-sentence";
import { type Scene, scene as sceneOf } from "../scene/scene";
import { Choices } from "./choices";
import { InAndOut } from "./in-and-out";
import { listenToKeys } from "./keyboard";
import { Layout } from "./layout";
import { LevelHost } from "./level-host";
import { levelOfKey } from "./level-order";
import { levelNamed, missingIn } from "./level-registry";
import { Navigation } from "./navigation";
import { Crumbs } from "./parts/crumbs";
import { Foot } from "./parts/foot";
import { help } from "./parts/help";
import { Hint } from "./parts/hint";
import { Masthead } from "./parts/masthead";
import { Notices } from "./parts/notices";
import { Panels } from "./parts/panels";
import { ReceiptView } from "./parts/receipt";
import { Ribbons } from "./parts/ribbons";
import { SentenceBar } from "./parts/sentence-bar";
import { skips } from "./parts/skips";
import { Switch } from "./parts/switch";
import { Timeline } from "./parts/timeline";
import { Tip } from "./parts/tip";
import type { Tools } from "./parts/tools";
import { shadow } from "./shadow";
import { onThemeChange, rampOf, resolve } from "./theme";
import { toolsOf } from "./tools-of-page";
import { held, pictured } from "./validate-state";
import type { Dock, Options, Step, View } from "./view";

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
  /** The place that was chosen for the reader, while it explains itself. */
  private opening: State | null = null;
  private scene: Scene | null = null;
  private ramp: Ramp | null = null;
  private drawn = 0;
  private readonly labels: Label[][];
  private readonly navigation: Navigation;
  private readonly layout: Layout;
  private readonly scope: HTMLElement;
  private readonly masthead: Masthead;
  private readonly tip: Tip;
  private readonly notices = new Notices();
  private readonly crumbs: Crumbs;
  private readonly tools: Tools;
  private readonly switch: Switch;
  private readonly sentenceBar: SentenceBar;
  private readonly ribbons: Ribbons;
  private readonly timeline = new Timeline((query) => this.choices.query(query));
  private readonly hint = new Hint();
  private readonly receipt = new ReceiptView();
  private readonly foot = new Foot(this.receipt);
  private readonly panels = new Panels();
  private readonly dock: Dock | null;
  private readonly helpOpener: HTMLButtonElement;
  private readonly levels: LevelHost;
  private readonly inAndOut: InAndOut;
  private readonly choices: Choices;
  private readonly listeners = new Set<(state: State, step: Step) => void>();
  private readonly cleanup: (() => void)[] = [];

  constructor(
    private readonly root: HTMLElement,
    private readonly source: Source,
    private readonly options: Options,
  ) {
    const { meta } = source;
    this.labels = meta.tokens.map(labels);
    this.navigation = new Navigation(source, {
      shown: (wanted, problems) => this.shown(wanted, problems),
      arrived: (before, problems, step) => this.arrived(before, problems, step),
      stayed: (problems) => {
        this.notices.replace(problems);
        this.announce("set");
      },
      waits: (text) => this.notices.replace([text]),
    });
    this.choices = new Choices(this.navigation, this.notices, this.hint, source, () => this.scene as Scene);
    const { dock, sides } = options;
    const ask = dock && source.askEdits?.bind(source);
    const edit = (change: Partial<State>) => this.choices.set(change, "set");
    const memory = sides?.memory ?? { open: false, histories: {} };
    this.dock = ask ? dock({ ask, side: sides?.shown ?? null, memory, set: edit }) : null;
    const actions: Actions = {
      edits: this.dock?.heads,
      set: (change) => this.choices.set(change, "set"),
      go: (change) => this.choices.set(change, "go"),
      say: (text) => this.foot.say(text),
      notice: (text) => this.notice(text),
    };
    this.levels = new LevelHost(actions, () => this.layout.viewport(), source);
    this.inAndOut = new InAndOut(this.navigation, this.levels, this.hint, {
      unpin: () => this.choices.set({ key: null }, "set"),
      open: () => [this.tip, this.masthead, this.panels, this.ribbons, this.receipt, this.crumbs],
    });
    this.switch = new Switch(this.levels.has, missingIn(source), (level) => this.navigation.change({ level }, "go"));
    this.crumbs = new Crumbs({
      meta,
      scene: () => this.scene,
      held: (site) => held(source, site),
      holds: (site, head) => source.live || source.holds(site.index, head),
      pictured: (site, head) => source.pictured?.(site.index, head) ?? false,
      choose: (name, value) => this.choices.crumb(name, value),
    });
    this.helpOpener = this.panels.opener("?", "help", { "data-tool": "help", "aria-keyshortcuts": "?" }, () =>
      help(meta, this.levels.has, missingIn(source)),
    );
    this.tools = toolsOf(meta, this.panels, this.helpOpener, {
      scene: () => this.scene as Scene,
      state: () => this.get(),
      picture: () => this.levels.level?.picture?.() ?? null,
      set: (change) => this.set(change),
      metas: options.sides?.metas,
      dock: this.dock,
    });
    this.sentenceBar = new SentenceBar(meta.notes ?? [], this.hint.element);
    const host = {
      pickQuery: (query: number) => this.choices.query(query),
      pin: (key: number) => this.choices.set({ key }, "set"),
      group: (group: number | null) => this.choices.set({ group }, "set"),
      say: (text: string) => this.foot.say(text),
    };
    this.ribbons = new Ribbons(host, `a${++mounted}`);
    this.masthead = new Masthead(options, { crumbs: this.crumbs, tools: this.tools, switch: this.switch });
    const texts = options.sides ? [{ element: options.sides.texts }] : [];
    const above = [this.panels, { element: this.receipt.banner }, this.notices, ...texts, this.sentenceBar];
    const below = this.dock ? [this.dock, this.foot] : [this.foot];
    const parts = [this.masthead, ...above, this.ribbons, this.timeline, this.levels, ...below].map(
      ({ element }) => element,
    );
    const past = skips({ text: () => this.ribbons.focus(), level: () => this.levels.focus() });
    const sheet = h("div", { class: "sheet" }, past, ...parts);
    this.scope = h(
      "main",
      { class: `scope fit-${options.fit}`, "aria-label": `attention of ${meta.model.name || "a model"}` },
      sheet,
    );
    this.tip = new Tip(this.scope);
    sheet.append(this.tip.element);
    this.scope.addEventListener("pointerdown", (event) => this.masthead.pressed(event));
    shadow(root, this.dock?.css).append(this.scope);
    this.layout = new Layout(
      {
        scope: this.scope,
        masthead: this.masthead.element,
        foot: this.foot.element,
        dock: this.dock?.element,
        readout: this.foot.readout,
        between: [this.panels.element, this.levels.element],
      },
      {
        look: () => {
          this.ribbons.look();
          this.levels.level?.look();
        },
        focus: () => this.levels.focus(),
        arrive: (scope) => this.levels.level?.arrive(scope),
      },
    );
    this.layout.listen();
    this.cleanup.push(
      listenToKeys(this.scope, options.alone ?? false, {
        enter: () => this.inAndOut.step(1),
        escape: () => this.inAndOut.escape(),
        written: (by) => this.timeline.step(by),
        find: () => this.ribbons.seek(),
        level: (key) => this.inAndOut.to(levelOfKey(key)),
        help: () => this.helpOpener.click(),
      }),
      onThemeChange(() => {
        if (resolve(this.get().theme) === this.scope.dataset.theme) return;
        this.applyTheme();
        this.redraw();
      }),
    );
  }

  async start(initial: Partial<State>, given: string[], base: Partial<State>): Promise<void> {
    const problems = [...given];
    await this.navigation.start(initial, base, problems);
    this.opening = this.get().why ? this.get() : null;
    this.applyTheme();
    this.redraw();
    if (problems.length) this.notices.replace(problems);
  }

  get(): State {
    return this.navigation.state;
  }

  set(change: Partial<State>, problems: string[] = []): void {
    this.navigation.change(change, "set", problems);
  }

  onState(listener: (state: State, step: Step) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  notice(text: string): void {
    this.notices.add(text);
  }

  destroy(): void {
    this.navigation.destroy();
    this.layout.destroy();
    this.masthead.destroy();
    this.ribbons.destroy();
    this.tip.close();
    for (const undo of this.cleanup) undo();
    this.levels.destroy();
    this.dock?.destroy();
    this.sentenceBar.destroy();
    this.receipt.destroy();
    this.foot.destroy();
    this.listeners.clear();
    this.root.shadowRoot?.replaceChildren();
    delete this.root.dataset.ready;
    delete this.root.dataset.drawn;
  }

  // -- what changes with the state

  private shown(wanted: State, problems: string[]): State {
    const { sides } = this.options;
    if (!sides && wanted.side !== "a") problems.push("This view shows one trace, so it has no sides to choose from.");
    const state = pictured(this.source, { ...wanted, side: sides?.shown ?? "a" }, problems);
    if (this.levels.has(state.level)) return state;
    const gone = levelNamed(state.level)?.missing?.(this.source);
    const level = gone && this.levels.has("model") ? "model" : "neuron";
    const why = gone ?? `There is no level ${state.level} in this view.`;
    problems.push(`${why} Showing the level ${level}.`);
    return { ...state, level };
  }

  private arrived(before: State, problems: string[], step: Step): void {
    if (before.theme !== this.get().theme) this.applyTheme();
    this.notices.replace(problems);
    this.redraw();
    this.announce(step);
  }

  private announce(step: Step): void {
    for (const listener of this.listeners) listener(this.get(), step);
  }

  private applyTheme(): void {
    this.scope.dataset.theme = resolve(this.get().theme);
    this.ramp = rampOf(this.scope);
    this.scope.style.setProperty("--ramp", this.ramp.gradient());
  }

  private redraw(): void {
    const { state, tensors } = this.navigation;
    const { ramp } = this;
    if (!tensors || !ramp) return;
    const dimSpecial = state.special === "hide";
    const scene = sceneOf(this.source.meta, tensors, state, this.labels, { ramp, dimSpecial });
    this.scene = scene;
    this.scope.classList.toggle("dim-special", dimSpecial);
    const level = this.show(state.level);
    this.tools.show(scene, level);
    this.switch.show(state.level);
    this.crumbs.show(scene);
    this.ribbons.element.hidden = scene.picture !== null;
    const own = scene.pair && state.level !== "model" ? sentenceOfPair(scene, scene.pair) : level.sentence?.(scene);
    this.sentenceBar.draw(scene, this.opening, own ?? null);
    this.ribbons.draw(scene);
    this.timeline.draw(scene);
    this.receipt.draw(scene);
    this.foot.sayKeys(level.keys, this.inAndOut.next(1) !== null, this.inAndOut.escapes());
    if (this.drawn === 0) {
      // the level asks for these sizes: known before it is there, they are asked for once
      this.foot.draw(scene, level);
      this.layout.measure();
    }
    level.draw(scene);
    this.foot.draw(scene, level);
    this.dock?.draw(scene);
    if (this.drawn === 0) this.layout.lookNow(); // laid out while the first frame is waited for, not in it
    this.root.dataset.drawn = String(++this.drawn);
    this.root.dataset.ready = "";
    this.layout.look();
    this.navigation.prefetch(scene.site);
  }

  /** Puts a level into the middle. What lies above it stays where it is; the keyboard goes on in it. */
  private show(name: LevelName): Level {
    const { levels, scope } = this;
    const before = levels.level;
    if (before?.name === name) return before;
    const inside = before?.element.matches(":focus-within") ?? false;
    const top = before ? levels.element.offsetTop - this.masthead.element.offsetHeight : 0;
    levels.show(name);
    scope.dataset.shows = name;
    if (before) {
      this.panels.close();
      if (scope.scrollTop > top) scope.scrollTop = Math.max(0, top);
      this.layout.opened(inside);
    }
    return levels.level as Level;
  }
}
