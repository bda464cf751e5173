/** The head level: queries on the left, keys on the right, a line for each weight. */
import { AfterFrame, h, setText } from "../dom";
import { combined, type Row, type SlotRow } from "../merge";
import { contrast, nicePart } from "../scale";
import type { Actions, Legend, Level, Picture, Scene } from "../scene";
import type { Part } from "../sentence";
import type { Source } from "../source";
import { list, percent, percentInWords } from "../words";
import { type Axes, AxesOf } from "./head/axes";
import { Bar } from "./head/bar";
import { type Beside, Column, type ColumnHost, type Side } from "./head/column";
import { completed, finding, selected } from "./head/finding";
import { type Chosen, choose, type Line } from "./head/geometry";
import { type Drawn, Lines } from "./head/lines";
import { placeName } from "./head/members";
import { Notes, notesOf } from "./head/notes";
import { Pages } from "./head/pages";
import { MOST, type Pen, pens } from "./head/palette";
import { type PaperSide, paper } from "./head/paper";
import type { Sheet } from "./head/sheet";
import { Slices } from "./head/slices";
import { type Found, rowsOf, sheetOf, slotRow } from "./head/stock";
import { SharedTools } from "./head/tools";

const FAINT = 1500; // lines of the queries that are not looked at
const FAINT_FROM = 0.03;
const STRONG = 160;
const THICK = 7;
let made = 0;

export class HeadLevel implements Level {
  readonly name = "head";
  readonly element = h("div", { class: "head-level", "data-level": "head" });
  readonly tools: HTMLElement[];
  readonly keys = "↑ ↓ walk · ← → other side · Enter pins · Space selects several";
  private readonly shared: SharedTools;
  private readonly bar: Bar;
  private readonly message = h("p", { class: "message", role: "note" });
  private readonly queryHead = h("div", { class: "ends-head ends-head-query" });
  private readonly keyHead = h("div", { class: "ends-head ends-head-key" });
  private readonly above = h("span", { class: "edge edge-above", "data-edge": "above" });
  private readonly below = h("span", { class: "edge edge-below", "data-edge": "below" });
  private readonly picture_ = h("div", {
    class: "picture",
    role: "group",
    "aria-label": "weights as lines from queries to keys",
  });
  private readonly queries: Column;
  private readonly keyColumn: Column;
  private readonly lines: Lines;
  private readonly notes = new Notes();
  private readonly pages = new Pages();
  private readonly slices = new Slices();
  private readonly later = new AfterFrame();
  private readonly axesOf = new AxesOf();
  private readonly observer: ResizeObserver;
  private scene: Scene | null = null;
  private axes: Axes | null = null;
  private heads: number[] = [];
  private found: Found[] = [];
  private sheets: Sheet[] = [];
  private pens: Pen[] = [];
  private chosen: number[] = [];
  private hovered: { side: Side; slot: number } | null = null;
  private faint: Chosen = { lines: [], offered: 0, drawn: 0 };
  private faintName = "";
  private beside: { query: Beside | null; key: Beside | null } = { query: null, key: null };
  private waiting = 0;
  private revealed = "";
  private high = 0;

  constructor(
    private readonly actions: Actions,
    private readonly viewport: () => { top: number; bottom: number },
    private readonly source: Source,
  ) {
    const id = `h${++made}`;
    const host: ColumnHost = {
      hover: (side, slot) => this.hover(side, slot),
      pin: (side, slot) => this.pin(side, slot),
      toggle: (slot) => this.toggle(slot),
      enter: (side, slot) => this.enter(side, slot),
      cross: (side) => this.cross(side),
      scrolled: () => this.moved(),
    };
    this.queries = new Column("query", host, `${id}q`);
    this.keyColumn = new Column("key", host, `${id}k`);
    this.lines = new Lines({ query: (slot) => this.queries.y(slot), key: (slot) => this.keyColumn.y(slot) });
    this.lines.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.shared = new SharedTools(actions, () => this.toggleTable());
    this.tools = this.shared.elements;
    this.bar = new Bar(actions, (scene, head) => source.live || source.holds(scene.site.index, head));
    this.message.hidden = true;
    const right = h("div", { class: "ends-box" }, this.above, this.keyColumn.element, this.below);
    this.picture_.append(this.queryHead, h("span"), this.keyHead, this.queries.element, this.lines.element, right);
    this.element.append(this.message, this.bar.element, this.picture_, this.notes.element, this.pages.element);
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.element);
  }

  /** What a scene means here; once per scene. */
  private prepare(scene: Scene): Axes {
    const before = this.scene;
    const axes = this.axesOf.of(scene);
    if (before === scene) return axes;
    this.scene = scene;
    if (axes.name !== this.axes?.name || before?.site !== scene.site) this.hovered = null;
    this.axes = axes;
    this.chosen = selected(scene, axes);
    this.gather(scene);
    return axes;
  }

  draw(scene: Scene): void {
    const { site } = scene;
    const axes = this.prepare(scene);
    this.message.hidden = this.sheets.length > 0;
    if (!this.sheets.length) {
      const coming = this.found.some(({ waiting }) => waiting.length);
      setText(
        this.message,
        coming ? "Waiting for the heads of this picture …" : "None of the heads of this picture are here.",
      );
      return;
    }
    this.shared.show(scene);
    this.pens = this.pensOf(scene);
    this.bar.draw(scene, this.heads, this.pens, this.chosen.length);
    const height = Math.max(axes.queries.slots.length, axes.keys.slots.length) <= 40 ? 24 : 20;
    const border = (table: number) => scene.meta.tokens[table].border;
    this.queries.lay(axes.queries, height, border(site.query_tokens));
    this.keyColumn.lay(axes.keys, height, border(site.key_tokens));
    this.room(axes);
    this.measure();
    this.drawFaint(scene, axes);
    this.focus();
    const place = `${axes.name} ${scene.query}`;
    if (place !== this.revealed) {
      this.revealed = place;
      this.queries.reveal(axes.query);
      this.keyColumn.reveal(axes.key >= 0 ? axes.key : this.strongest());
    }
    if (this.pages.open) this.later.run(() => this.table());
    else this.table();
  }

  sentence(scene: Scene): Part[] | null {
    const axes = this.prepare(scene);
    const [sheet] = this.sheets;
    if (!sheet || !this.chosen.length) return null;
    completed(sheet);
    return finding(scene, sheet, axes, this.combinedRow(0));
  }

  scales(scene: Scene): Legend[] {
    const legends: Legend[] = [
      {
        swatch: "ink",
        said: [["weight", `by thickness and darkness; bars 0 … ${percentInWords(this.beside.key?.end ?? 1)}`]],
      },
    ];
    if (scene.chain.allowed?.includes(0)) legends.push({ swatch: "masked", said: [["", "masked"]] });
    return legends;
  }

  look(): void {
    this.measure();
  }

  arrive(): void {}

  close(): boolean {
    if (!this.pages.open) return false;
    this.toggleTable();
    return true;
  }

  destroy(): void {
    this.slices.cancel();
    this.later.cancel();
    this.waiting++;
    this.observer.disconnect();
  }

  // -- data

  private gather(scene: Scene): void {
    const { state, site } = scene;
    const over = state.average === "none" ? state.heads.filter((head) => head !== state.head && head < site.heads) : [];
    const wanted = [state.head, ...over].slice(0, MOST);
    const found = wanted.map((head) => sheetOf(this.source, scene, head));
    const here = wanted.filter((_, i) => found[i].sheet);
    const lost = wanted.filter((_, i) => !found[i].sheet && !found[i].waiting.length);
    if (lost.length)
      this.actions.notice(`Head ${list(lost.map(String))} of this layer is not in this page, so it is not drawn.`);
    this.heads = here;
    this.found = found;
    this.sheets = found.flatMap(({ sheet }) => sheet ?? []);
    const token = ++this.waiting;
    const coming = found.flatMap(({ waiting }) => waiting);
    if (coming.length)
      Promise.allSettled(coming).then((ends) => {
        if (token !== this.waiting || !this.scene) return;
        const failed = ends.find((end) => end.status === "rejected");
        if (failed) this.actions.notice(String((failed as PromiseRejectedResult).reason?.message ?? failed));
        if (!ends.some((end) => end.status === "fulfilled")) return;
        this.gather(this.scene);
        this.draw(this.scene);
      });
  }

  private pensOf({ ramp }: Scene): Pen[] {
    const { ground } = ramp.palette;
    const dark = contrast(ground, "#000000") < contrast(ground, "#ffffff");
    return this.heads.length > 1 ? pens(dark) : [{ colour: ramp.palette.ink, dash: [] }];
  }

  private combinedRow(head: number, slots = this.chosen, exact = true): SlotRow {
    const axes = this.axes as Axes;
    const scene = this.scene as Scene;
    return combined(
      slots.map((slot) => slotRow(this.sheets[head], axes, slot, exact)),
      scene.state.combine,
    );
  }

  private strongest(): number {
    const { weights } = this.combinedRow(0);
    return weights.reduce((best, weight, s) => (weight > weights[best] ? s : best), 0);
  }

  /** Lines of all queries, once per picture: in slices where the text is long. */
  private drawFaint({ state }: Scene, axes: Axes): void {
    const name = `${this.heads} ${axes.name} ${state.threshold} ${this.sheets.map(({ site, members }) => `${site.index}.${members.length}.${members[0].head}`)} ${this.pens[0].colour}`;
    if (name === this.faintName) return;
    this.faintName = name;
    this.slices.cancel();
    const sheets = [...this.sheets];
    const lines: Line[] = [];
    const from = Math.max(FAINT_FROM, state.threshold);
    let at = 0;
    const total = axes.queries.slots.length * sheets.length;
    const step = () => {
      if (at >= total) return sheets.some((sheet) => sheet.advance());
      const head = Math.floor(at / axes.queries.slots.length);
      const slot = at++ % axes.queries.slots.length;
      const { weights } = slotRow(sheets[head], axes, slot);
      for (let key = 0; key < weights.length; key++)
        if (weights[key] >= from) lines.push({ query: slot, key, weight: weights[key], head });
      return true;
    };
    const show = () => {
      this.faint = choose(lines, from, FAINT);
      this.lines.setFaint(this.faint.lines, this.pens, 1);
    };
    // not every sheet is small, but this one has been computed, or can be at once
    if (sheets.every(completed) && total * axes.keys.slots.length < 30_000) {
      while (step());
      show();
      return;
    }
    this.lines.setFaint([], this.pens, 1);
    if (sheets.some((sheet) => sheet.large)) return; // one query at a time
    let shown = 0;
    const now = () => {
      // drawing costs more than computing: now and then is enough
      if (performance.now() - shown < 250) return;
      shown = performance.now();
      show();
    };
    this.slices.run(step, now, () => {
      show();
      this.focus();
      this.actions.set({}); // what the head does over the whole text is known now, and said
    });
  }

  // -- what is looked at

  private focus(): void {
    const { axes, scene } = this;
    if (!axes || !scene || !this.sheets.length) return;
    const { state } = scene;
    const over = this.hovered;
    const slots = over?.side === "query" ? [over.slot] : this.chosen;
    const strong: Drawn[] = [];
    let undrawn = 0;
    let missing = 0;
    const values: SlotRow[] = [];
    this.sheets.forEach((sheet, head) => {
      const rows = slots.map((slot) => slotRow(sheet, axes, slot, true));
      if (rows.length) values.push(combined(rows, state.combine));
      if (over?.side === "key") return;
      const lines = rows.flatMap((row, i) =>
        Array.from(row.weights, (weight, key): Line => ({ query: slots[i], key, weight, head })),
      );
      const picked = choose(lines, state.threshold, Math.floor(STRONG / this.sheets.length));
      for (const line of picked.lines) strong.push(this.drawn(line));
      if (head > 0) return;
      missing = lines.filter(({ weight }) => weight > 0).length - picked.lines.length;
      undrawn = (picked.offered - picked.drawn) * (state.combine === "mean" ? 1 / Math.max(1, rows.length) : 1);
    });
    const looked = over?.side === "key" ? over.slot : axes.key;
    const columns = looked >= 0 ? this.sheets.map((sheet) => this.column(sheet, looked)) : null;
    if (columns && over?.side === "key")
      columns.forEach((column, head) => {
        const lines = column.flatMap((weight, query) =>
          weight === null ? [] : [{ query, key: looked, weight, head }],
        );
        for (const line of choose(lines, state.threshold, STRONG).lines) strong.push(this.drawn(line));
      });
    const colours = this.sheets.map((_, i) => (this.sheets.length > 1 ? this.pens[i].colour : null));
    const largest = Math.max(0, ...values.map(({ weights }) => weights.reduce((most, w) => (w > most ? w : most), 0)));
    this.beside.key = values.length
      ? {
          values: values.map(({ weights }) => Array.from(weights)),
          colours,
          end: nicePart(largest),
          masked: values[0].masked,
        }
      : null;
    const seen = columns?.flat().reduce<number>((most, w) => Math.max(most, w ?? 0), 0) ?? 0;
    this.beside.query = columns && { values: columns, colours, end: nicePart(seen), masked: null };
    this.queries.mark(this.chosen, -1, over?.side === "query" ? over.slot : -1);
    this.keyColumn.mark([], axes.key, over?.side === "key" ? over.slot : -1);
    this.keyColumn.show(this.beside.key);
    this.queries.show(this.beside.query);
    this.lines.setStrong(strong, this.pens, THICK);
    this.bar.say(undrawn, Math.max(0, missing));
    this.heading(slots, looked);
    this.edges();
    if (!over && values.length) {
      const rows: Row[] = slots.flatMap((slot) => rowsOf(this.sheets[0], axes, slot, true));
      this.notes.draw(notesOf(scene, axes, this.found[0], rows, values[0]));
    }
  }

  private drawn(line: Line): Drawn {
    const { queries, keys } = this.axes as Axes;
    return {
      ...line,
      queryToken: queries.slots[line.query].tokens[0],
      keyToken: keys.slots[line.key].tokens[0],
      value: line.weight,
    };
  }

  /** What every query gives to one key; null where its row is still to be computed. */
  private column(sheet: Sheet, key: number): (number | null)[] {
    const { queries, keys } = this.axes as Axes;
    const offset = sheet.site.query_offset ?? 0;
    const small = completed(sheet);
    const { tokens } = keys.slots[key];
    return queries.slots.map((slot) => {
      let sum = 0;
      for (const token of slot.tokens) {
        if (!small && !sheet.knows(token - offset)) return null;
        const { weights } = sheet.row(token - offset);
        for (const j of tokens) sum += weights[j];
      }
      return sum / slot.tokens.length;
    });
  }

  private heading(slots: number[], looked: number): void {
    const { queries, keys } = this.axes as Axes;
    const { state } = this.scene as Scene;
    const names = slots.length === 1 ? [queries.slots[slots[0]].text] : [];
    const of: (string | Node)[] = names.length
      ? ["weight of ", h("bdi", { class: "tok" }, names[0])]
      : [`${state.combine} of ${slots.length} queries`];
    const heads =
      this.heads.length > 1 && this.heads.length <= 3
        ? this.heads.map((head) => h("span", { class: "head-name" }, `head ${head}`))
        : [];
    this.keyHead.replaceChildren(
      h("b", {}, "keys"),
      heads.length ? h("span", { class: "what" }) : h("span", { class: "what" }, ...of),
      h("span", { class: "head-names" }, ...heads),
    );
    const key = looked >= 0 ? keys.slots[looked] : null;
    this.queryHead.replaceChildren(
      key ? h("span", { class: "what" }, "given to ", h("bdi", { class: "tok" }, key.text)) : h("span"),
      h("b", {}, "queries"),
    );
  }

  /** How much of the row lies above and below what is in sight. */
  private edges(): void {
    const { beside } = this;
    const weights = beside.key?.values[0] as number[] | undefined;
    const [from, to] = this.keyColumn.sight();
    const sum = (part: number[] | undefined) => part?.reduce((total, weight) => total + weight, 0) ?? 0;
    const above = from > 0 ? sum(weights?.slice(0, from)) : 0;
    const below = sum(weights?.slice(to + 1));
    setText(this.above, `↑ ${percentInWords(above)} above`);
    setText(this.below, `↓ ${percentInWords(below)} below`);
    this.above.hidden = above < 0.0005;
    this.below.hidden = below < 0.0005;
  }

  // -- what the reader does

  private hover(side: Side, slot: number | null): void {
    if (slot === null ? this.hovered === null : this.hovered?.side === side && this.hovered.slot === slot) return;
    this.hovered = slot === null ? null : { side, slot };
    this.element.classList.toggle("looking", slot !== null);
    this.focus();
    if (slot !== null) this.say(side, slot);
  }

  private say(side: Side, slot: number): void {
    const axes = this.axes as Axes;
    const one = (of: "queries" | "keys", at: number) =>
      `“${axes[of].slots[at].text}” at ${axes[of].slots[at].tokens[0]}`;
    const strongest = (values: readonly (number | null)[], names: "queries" | "keys") =>
      values
        .map((value, at) => ({ value: value ?? -1, at }))
        .filter(({ value }) => value >= 0.0005)
        .sort((a, b) => b.value - a.value)
        .slice(0, 3)
        .map(({ value, at }) => `${axes[names].slots[at].text} ${percent(value)}`)
        .join(", ");
    const beside = side === "query" ? this.beside.key : this.beside.query;
    const perHead = this.heads.map((head, i) => {
      const said = strongest(beside?.values[i] ?? [], side === "query" ? "keys" : "queries") || "nothing";
      return this.heads.length > 1 ? `head ${head}: ${said}` : said;
    });
    if (side === "query") {
      this.actions.say(`query ${one("queries", slot)} looks at ${perHead.join("; ")}`);
      return;
    }
    const main = this.chosen[0];
    const given = main === undefined ? null : (this.beside.key?.values[0][slot] ?? null);
    const pair =
      given === null
        ? ""
        : `${this.chosen.length > 1 ? "the selected queries" : `query ${one("queries", main)}`} → key ${one("keys", slot)}: ${this.beside.key?.masked?.[slot] ? "masked" : `weight ${percent(given)}`} · `;
    this.actions.say(`${pair}seen most by ${perHead.join("; ")}`);
  }

  private token(side: Side, slot: number): number {
    const axes = this.axes as Axes;
    return (side === "query" ? axes.queries : axes.keys).slots[slot].tokens[0];
  }

  private pin(side: Side, slot: number): void {
    const axes = this.axes as Axes;
    if (side === "query") {
      if (slot === axes.query && !this.scene?.state.queries.length) return;
      this.actions.set({ query: this.token(side, slot), queries: [] });
    } else this.actions.set({ key: slot === axes.key ? null : this.token(side, slot) });
  }

  private toggle(slot: number): void {
    const axes = this.axes as Axes;
    const { state } = this.scene as Scene;
    const rest = state.queries.filter((query) => axes.queries.of[query] !== slot);
    if (slot === axes.query) {
      // the first of the others takes its place
      if (rest.length) this.actions.set({ query: rest[0], queries: rest.slice(1) });
    } else if (rest.length < state.queries.length) this.actions.set({ queries: rest });
    else this.actions.set({ queries: [...rest, this.token("query", slot)] });
  }

  private enter(side: Side, slot: number): void {
    const token = this.token(side, slot);
    this.actions.go(side === "query" ? { level: "neuron", query: token } : { level: "neuron", key: token });
  }

  private cross(from: Side): void {
    const [here, there] = from === "query" ? [this.queries, this.keyColumn] : [this.keyColumn, this.queries];
    here.element.tabIndex = -1;
    there.focus();
  }

  private wheel(event: WheelEvent): void {
    if (event.ctrlKey || event.deltaY === 0) return;
    const lists = [this.queries.element, this.keyColumn.element];
    const can = lists.filter((one) =>
      event.deltaY < 0 ? one.scrollTop > 0 : one.scrollTop + one.clientHeight < one.scrollHeight - 1,
    );
    if (!can.length) return;
    event.preventDefault();
    for (const one of can) one.scrollTop += event.deltaY * (event.deltaMode === 1 ? 20 : 1);
  }

  private moved(): void {
    this.lines.move();
    this.edges();
  }

  // -- place

  /** As high as its tokens, or as what is in sight allows. */
  private measure(): void {
    const { axes } = this;
    if (!axes) return;
    const slots = Math.max(axes.queries.slots.length, axes.keys.slots.length);
    const content = slots * (slots <= 40 ? 24 : 20);
    const { top, bottom } = this.viewport();
    const style = getComputedStyle(this.element);
    const taken = ["--bar", "--foot"].reduce(
      (sum, name) => sum + (Number.parseFloat(style.getPropertyValue(name)) || 0),
      0,
    );
    const most = Math.max(320, bottom - top - taken - 96);
    const scrolled = this.element.closest(".scope")?.scrollTop ?? 0;
    const begin = this.picture_.getBoundingClientRect().top - top + scrolled + 26;
    const atOnce = bottom - top - begin - (Number.parseFloat(style.getPropertyValue("--foot")) || 0) - 8;
    // what does not fit anyhow fits without scrolling the page, if that leaves it some height
    const height = content <= most ? content : Math.min(most, atOnce >= 340 ? atOnce : most);
    if (height !== this.high) {
      this.high = height;
      this.picture_.style.setProperty("--picture", `${height}px`);
      this.queries.resize(height);
      this.keyColumn.resize(height);
    }
    this.lines.resize(this.lines.element.clientWidth, height);
    this.edges();
  }

  /** The columns are as wide as their tokens, within reason. */
  private room(axes: Axes): void {
    for (const [name, axis] of [
      ["query", axes.queries],
      ["key", axes.keys],
    ] as const) {
      const most = axis.slots.reduce((longest, { text }) => Math.max(longest, text.length), 4);
      this.picture_.style.setProperty(`--${name}-room`, `${Math.min(24, most)}ch`);
    }
    this.picture_.style.setProperty("--numbers", String(this.heads.length));
    this.picture_.dataset.heads = this.heads.length === 1 ? "one" : this.heads.length <= 3 ? "few" : "many";
  }

  private toggleTable(): void {
    this.table();
    this.shared.table.setAttribute("aria-pressed", String(this.pages.toggle()));
  }

  private table(): void {
    this.pages.draw(() => {
      const axes = this.axes as Axes;
      const scene = this.scene as Scene;
      const rows = this.sheets.map((_, i) => this.combinedRow(i));
      const several = this.chosen.length > 1;
      const of = several
        ? `${scene.state.combine} over ${this.chosen.length} queries`
        : `query “${axes.queries.slots[this.chosen[0]]?.text ?? ""}” at ${scene.query}`;
      const one = !several && this.sheets.length === 1;
      const extra: [string, Float64Array][] = one
        ? (
            [
              ["score", rows[0].scores],
              ["q · k", rows[0].dot],
            ] as [string, Float64Array | null][]
          ).filter((pair): pair is [string, Float64Array] => pair[1] !== null)
        : [];
      const where = placeName({ site: scene.site, head: scene.state.head }, scene.state.average);
      return {
        caption: `${where[0].toUpperCase()}${where.slice(1)}, ${of}: every key`,
        columns: [
          "position",
          "key",
          ...rows.map((_, i) => (this.heads.length > 1 ? `weight, head ${this.heads[i]}` : "weight")),
          "mask",
          ...extra.map(([name]) => name),
        ],
        rows: axes.keys.slots.length,
        row: (s) => [
          axes.keys.slots[s].tokens.join(", "),
          axes.keys.slots[s].text,
          ...rows.map(({ weights }) => `${(weights[s] * 100).toFixed(4)} %`),
          rows[0].masked[s] ? "masked" : "allowed",
          ...extra.map(([, values]) => (Number.isFinite(values[s]) ? values[s].toFixed(4) : "masked")),
        ],
      };
    });
  }

  picture(): Picture | null {
    const { axes, scene } = this;
    if (!axes || !scene || !this.sheets.length) return null;
    const { palette } = scene.ramp;
    const muted = getComputedStyle(this.element).getPropertyValue("--muted").trim();
    const side = (name: "query" | "key"): PaperSide[] =>
      (name === "query" ? axes.queries : axes.keys).slots.map((slot, s) => ({
        text: slot.text,
        y: (name === "query" ? this.queries : this.keyColumn).y(s),
        chosen: name === "query" ? this.chosen.includes(s) : s === axes.key,
        special: slot.special,
        values: this.beside[name]?.values.map((values) => values[s]) ?? [],
      }));
    const where = placeName({ site: scene.site, head: scene.state.head }, scene.state.average);
    return paper({
      title: `${scene.meta.model.name}, ${where}`,
      width: Math.max(160, this.lines.element.clientWidth),
      height: this.lines.element.clientHeight,
      queries: side("query"),
      keys: side("key"),
      faint: this.lines.lines.faint,
      strong: this.lines.lines.strong,
      faintEnd: 1,
      y: { query: (slot) => this.queries.y(slot), key: (slot) => this.keyColumn.y(slot) },
      beside: (head) => this.lines.beside(head),
      pens: this.pens,
      heads: this.heads.map((head) => `head ${head}`),
      colours: { ground: palette.ground, text: palette.ink, muted },
    });
  }
}
