/** The line to type in: model, text, a second sentence on request, and what the server says. */

import { shadow } from "../../app/shadow";
import { onThemeChange, resolve } from "../../app/theme";
import { button, h, setText } from "../../base/dom";
import type { Theme } from "../../base/state";
import type { Question } from "../../data/sources/http";

/** Sooner, a note that something is awaited would only flicker. */
const PATIENCE = 200;

export class PromptForm {
  private readonly model: HTMLSelectElement;
  private readonly text = h("textarea", {
    rows: 1,
    "data-ask": "text",
    "aria-label": "text",
    placeholder: "type a text",
    spellcheck: "false",
    dir: "auto",
  });
  private readonly pair = h("textarea", {
    rows: 1,
    "data-ask": "pair",
    "aria-label": "second sentence",
    placeholder: "second sentence",
    spellcheck: "false",
    dir: "auto",
  });
  private readonly more: HTMLButtonElement;
  private readonly said = h("p", { class: "asker-said", role: "status", "data-ask": "status" });
  private readonly form: HTMLFormElement;
  private waiting: ReturnType<typeof setTimeout> | undefined;
  private chosen: Theme = "auto";

  constructor(
    root: HTMLElement,
    sheet: CSSStyleSheet,
    { models, examples = [] }: { models: string[]; examples?: string[] },
    private readonly send: (question: Question) => void,
  ) {
    this.model = h(
      "select",
      { "data-ask": "model", "aria-label": "model" },
      ...models.map((name) => h("option", { value: name }, name)),
    );
    this.more = button("+ second sentence", { class: "choice", "data-ask": "more", "aria-expanded": "false" }, () => {
      this.spread(this.pair.hidden);
      if (!this.pair.hidden) this.pair.focus();
      else if (this.pair.value) {
        this.pair.value = "";
        this.submit();
      }
    });
    const example = h(
      "select",
      { class: "choice example", "data-ask": "example", "aria-label": "examples" },
      h("option", { value: "" }, "examples"),
      ...examples.map((text) => h("option", { value: text }, text)),
    );
    example.hidden = examples.length === 0;
    example.addEventListener("change", () => {
      this.text.value = example.value;
      example.value = "";
      this.pair.value = "";
      this.spread(false);
      this.submit();
    });
    const show = h("button", { type: "submit", class: "choice", "data-ask": "show" }, "show");
    const link = button("copy link", { class: "choice", "data-ask": "link" }, () => void this.copy());
    this.form = h("form", { class: "scope asker", "aria-label": "what is read" }, this.model, this.text, this.pair);
    this.form.append(h("span", { class: "asker-buttons" }, show, this.more, example, link), this.said);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.model.addEventListener("change", () => this.submit());
    for (const field of [this.text, this.pair])
      field.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.submit();
      });
    this.spread(false);
    const inside = shadow(root);
    inside.adoptedStyleSheets = [...inside.adoptedStyleSheets, sheet];
    inside.append(this.form);
    this.theme("auto");
    onThemeChange(() => this.theme(this.chosen));
  }

  fill({ model, text, pair }: Question): void {
    this.model.value = model;
    this.text.value = text;
    this.pair.value = pair;
    this.spread(pair !== "");
  }

  theme(theme: Theme): void {
    this.chosen = theme;
    this.form.dataset.theme = resolve(theme);
  }

  /** A text is being read. */
  busy(): void {
    clearTimeout(this.waiting);
    this.form.setAttribute("aria-busy", "true");
    this.waiting = setTimeout(() => this.say(`${this.model.value} is reading …`), PATIENCE);
  }

  /** It was read; `note` is what there is to say of it. */
  done(question: Question, note: string): void {
    this.form.dataset.read = question.text;
    this.say(note);
  }

  /** It was not: what was typed stays, and what was on screen too. */
  refused(error: Error & { kind?: string }, question: Question): void {
    this.say(
      error.message.replace(/^./, (first) => first.toUpperCase()),
      "wrong",
    );
    if (error.kind !== "too_long") return;
    const cut = button("cut it to fit", { class: "choice", "data-ask": "cut" }, () =>
      this.send({ ...question, truncate: true }),
    );
    this.said.append(" ", cut);
  }

  private submit(): void {
    if (!this.text.value.trim()) {
      this.say("Type at least one word.", "wrong");
      this.text.focus();
      return;
    }
    const pair = this.pair.hidden ? "" : this.pair.value.trim();
    this.send({ model: this.model.value, text: this.text.value.trim(), pair, truncate: false });
  }

  private spread(open: boolean): void {
    this.pair.hidden = !open;
    setText(this.more, open ? "one text only" : "+ second sentence");
    this.more.setAttribute("aria-expanded", String(open));
  }

  private async copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(location.href);
      this.say("Copied: model, text and place, without the token. Who opens it needs the token of this server, once.");
    } catch {
      this.say("This browser does not let a page copy here: the link is the address above.");
    }
  }

  private say(text: string, kind = ""): void {
    clearTimeout(this.waiting);
    this.form.setAttribute("aria-busy", "false");
    setText(this.said, text);
    this.said.hidden = text === "";
    this.said.dataset.kind = kind;
  }
}
