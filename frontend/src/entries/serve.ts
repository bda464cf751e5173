/** The server's page: a line to type in, and below it the same app. The address holds text, model and place, so it can be passed on. */

import { mount } from "../app/mount";
import { fail } from "../app/shadow";
import { follow } from "../app/url/address";
import type { Live, Step, View } from "../app/view";
import { hasPlace } from "../base/head-edit";
import { fromHash, INITIAL, type State } from "../base/state";
import { type HttpSource, type Question, Refused, read } from "../data/sources/http";
import { LOOK, PLACE } from "../generated/state";
import { PromptForm } from "./serve/prompt-form";
import style from "./serve/serve.css";
import { type Asked, addressOf, questionIn, withoutToken } from "./serve/url-query";

interface Settings {
  models: string[];
  example: string;
  examples?: string[];
}

function pick(state: Partial<State>, names: readonly (keyof State)[]): Partial<State> {
  return Object.fromEntries(names.filter((name) => name in state).map((name) => [name, state[name]]));
}

class Desk {
  private view: View | null = null;
  private source: HttpSource | null = null;
  private asking: AbortController | null = null;
  /** The part of the address that the view on screen belongs to. */
  private shown: string | null = null;
  private readonly listeners = new Set<(state: State, step: Step) => void>();
  /** The reader has chosen this head: it is looked at in the next text too. */
  private placed = false;
  private opened: State = INITIAL;
  /** What the address means where it says nothing of the place. */
  private readonly home: State = { ...INITIAL };
  private readonly asker: PromptForm;
  private readonly sheet = new CSSStyleSheet();

  constructor(
    bar: HTMLElement,
    private readonly root: HTMLElement,
    private readonly settings: Settings,
  ) {
    this.sheet.replaceSync(style);
    this.asker = new PromptForm(bar, this.sheet, settings, (question) => void this.ask(question));
    // the bar may grow with its text: the app below has what is left
    new ResizeObserver(() => root.style.setProperty("--ask", `${bar.offsetHeight}px`)).observe(bar);
  }

  start(): void {
    withoutToken();
    const stand: View = {
      get: () => this.view?.get() ?? INITIAL,
      // an address of another text is not for this one: its own view comes
      set: (change, problems) => {
        if (location.search === this.shown) this.view?.set(change, problems);
      },
      onState: (listener) => {
        this.listeners.add(listener);
        return () => this.listeners.delete(listener);
      },
      notice: (text) => this.view?.notice(text),
      destroy: () => {},
    };
    follow(stand, this.home, INITIAL);
    addEventListener("popstate", () => {
      if (location.search !== this.shown) void this.fromAddress();
    });
    void this.fromAddress();
  }

  /** Shows what the address says: at first, and when one goes back. */
  private async fromAddress(): Promise<void> {
    const found = questionIn(location.search, this.settings);
    this.asker.fill(found);
    const { state, problems } = fromHash(location.hash);
    this.placed = PLACE.some((name) => name in state);
    await this.show(found, state, pick(state, [...PLACE, "query"]), problems);
  }

  /** Shows what was typed: the same level, and the same head where one was chosen. */
  private async ask(question: Question): Promise<void> {
    const now = this.view?.get();
    const same = this.source?.question.model === question.model;
    // an edit of heads goes on in the next text, one of its tokens does not
    const edits = now && same ? now.edits.filter((one) => !hasPlace(one)) : [];
    const state = now ? { ...pick(now, LOOK), edits } : {};
    this.placed &&= same;
    await this.show({ ...question, problems: [] }, state, now && this.placed ? pick(now, PLACE) : {}, [], true);
  }

  private async show(
    { problems: before, ...question }: Asked,
    look: Partial<State>,
    place: Partial<State>,
    problems: string[],
    typed = false,
  ): Promise<void> {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    this.asker.busy();
    try {
      const { source, state } = await read(question, place, asking.signal);
      if (asking.signal.aborted) return;
      const old = [this.view, this.source] as const;
      // a place in the address is where the view opens, without the server's reason for another
      const chosen = "query" in look ? { ...look, why: null } : look;
      const key = "query" in look && !("key" in look) ? { key: null } : {};
      const { search, whole } = addressOf(question);
      if (!typed) history.replaceState(history.state, "", search + location.hash);
      else if (search !== this.shown || !whole) history.pushState(null, "", search);
      this.shown = location.search;
      for (const view of old) view?.destroy();
      this.source = source;
      this.view = null;
      this.view = await mount(
        this.root,
        source,
        { ...state, ...chosen, ...key },
        {
          fit: "page",
          problems: [...before, ...problems],
          base: state,
          alone: true,
          dock: (globalThis as Live).attnscopeEdits,
        },
      );
      const inside = this.root.shadowRoot as ShadowRoot;
      inside.adoptedStyleSheets = [...inside.adoptedStyleSheets, this.sheet];
      this.view.onState((next, step) => this.tell(next, step));
      this.opened = this.view.get();
      Object.assign(this.home, this.opened);
      this.asker.done(question, whole ? "" : "This text is too long for an address: a copied link does not hold it.");
      this.tell(this.view.get(), "set");
    } catch (error) {
      if (asking.signal.aborted) return;
      if (error instanceof Refused) this.asker.refused(error, question);
      else if (this.view) this.asker.refused(error as Error, question);
      else {
        this.asker.done(question, "");
        fail(this.root, error);
      }
    }
  }

  private tell(state: State, step: Step): void {
    this.placed ||= PLACE.some((name) => state[name] !== this.opened[name]);
    this.asker.theme(state.theme);
    document.title = `${this.source?.question.text.slice(0, 60)} · attnscope`;
    for (const listener of this.listeners) listener(state, step);
  }
}

function start(): void {
  const find = (name: string) => document.querySelector(`[${name}]`) as HTMLElement;
  const settings = JSON.parse(find("data-attnscope-serve").textContent ?? "{}") as Settings;
  new Desk(find("data-attnscope-ask"), find("data-attnscope"), settings).start();
}

start();
