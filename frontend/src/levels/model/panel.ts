/** One head, enlarged, with its numbers; beside the grid, so that it never covers what it speaks of. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { explained } from "../../base/explained";
import { count, percent } from "../../base/format";
import { patchOf } from "../../data/pictured";
import { linkSaid } from "../../heads/link-sentence";
import type { Label } from "../../scene/labels";
import { after } from "../../scene/text";
import { tokenElement } from "../../scene/token-element";
import { type Head, nameOf } from "./heads";
import { type Look, paint } from "./paint";
import type { Statistics } from "./statistics";

const PANEL = 292; // px beside the grid, as the style has it
const PERCENT = /(\S+ %)/; // a number and its sign stay on one line

export class Panel {
  readonly element = h("aside", { class: "model-panel", "aria-label": "the head enlarged" });
  private readonly title = h("b", { class: "model-panel-title" });
  private readonly canvas = h("canvas", { role: "img" });
  private readonly ring = h("i", { class: "model-ring", "aria-hidden": "true" });
  private readonly link = h("p", { class: "model-link" });
  private readonly roles = h("div", { class: "model-roles" });
  private readonly list = h("dl", { class: "model-stats" });
  /** Of the names of the statistics one is a stop of the Tab key; the arrow keys go to the others. */
  private stop = 0;
  private readonly absent = h("p", { class: "model-absent" });
  private readonly open: HTMLButtonElement;
  private shown: Head | null = null;
  private drawn = "";

  constructor(
    private readonly statistics: Statistics,
    private readonly labels: Label[][],
    open: (head: Head) => void,
    edit?: HTMLElement,
  ) {
    this.open = button("open this head", { class: "choice", "data-open": true }, () => this.shown && open(this.shown));
    const axes = h(
      "p",
      { class: "model-axes", "aria-hidden": "true" },
      h("span", {}, "queries ↓"),
      h("span", {}, "keys →"),
    );
    this.list.addEventListener("keydown", (event) => this.walk(event));
    this.list.addEventListener("focusin", ({ target }) => this.stopAt(this.names.indexOf(target as HTMLElement)));
    const picture = h("div", { class: "model-large" }, this.canvas, this.ring);
    this.element.append(
      h("div", { class: "model-panel-top" }, this.title, edit, this.open),
      h("div", { class: "model-panel-picture" }, picture, axes),
      h("div", { class: "model-panel-said" }, this.roles, this.link, this.list, this.absent),
    );
  }

  /** `sort`: the statistic in use, which comes to the fore. `absent`: of a page without its numbers, or without a picture too. */
  show(head: Head, sort: string, absent: "picture" | "all" | null, look: Look, lines: boolean, ratio: number): void {
    this.shown = head;
    const side = this.canvas.parentElement?.clientWidth || 256;
    const pair = `${this.statistics.full("pair")} ${this.statistics.pairName}`;
    const name = `${nameOf(head)} ${pair} ${head.site.index} ${sort} ${absent} ${look.end} ${look.palette.ground} ${lines} ${ratio} ${side}`;
    if (name === this.drawn) return;
    this.drawn = name;
    const { site } = head;
    this.element.dataset.enlarged = `${site.index}.${head.head}`;
    const plain = this.statistics.plainName(head);
    const place = `${site.stack ? `${site.stack} ` : ""}layer ${site.layer}, head ${head.head}`;
    this.title.replaceChildren(place, ...(plain ? [" ", h("span", { class: "what" }, plain)] : []));
    paint(this.canvas, [{ head, x: 0, absent: false }], side, side, ratio, look, lines);
    setAttribute(
      this.canvas,
      "aria-label",
      `weights of ${nameOf(head)}, ${count(site.queries, "query", "queries")} by ${count(site.keys, "key")}`,
    );
    this.showLink(head, lines);
    this.showRoles(head);
    this.list.replaceChildren(
      ...this.statistics.names
        .filter((one) => this.statistics.value(head, one) !== null || one === sort)
        .flatMap((one) => {
          const rank = this.statistics.rank(head, one);
          const current = one === sort ? "current" : null;
          const value = h(
            "span",
            { class: "n", "data-stat": one, "data-value": this.statistics.value(head, one) },
            this.statistics.said(head, one),
          );
          const place = rank && rank.of > 1 ? `${rank.rank} of ${rank.of}` : "";
          return [
            explained(
              h(
                "dt",
                { class: current, tabindex: -1 },
                /^pair/.test(one) ? this.statistics.full(one) : this.statistics.title(one),
              ),
              this.statistics.words(one),
            ),
            h("dd", { class: current }, value),
            h("dd", { class: `rank${current ? " current" : ""}` }, place),
          ];
        }),
    );
    this.stopAt(this.stop);
    this.absent.hidden = !absent;
    this.open.hidden = absent === "all";
    if (absent)
      setText(
        this.absent,
        `${absent === "all" ? "Not in this page" : "This page has a coarse picture of it, and none of its numbers"}. To see it${absent === "all" ? "" : " whole"}: trace.show(layer=${site.layer}, head=${head.head}${site.stack ? `, stack="${site.stack}"` : ""}), or a larger max_mb.`,
      );
  }

  private get names(): HTMLElement[] {
    return [...this.list.querySelectorAll("dt")];
  }

  private stopAt(index: number): HTMLElement | undefined {
    const { names } = this;
    this.stop = Math.max(0, Math.min(names.length - 1, index));
    names.forEach((name, i) => {
      name.tabIndex = i === this.stop ? 0 : -1;
    });
    return names[this.stop];
  }

  private walk(event: KeyboardEvent): void {
    const { names } = this;
    const at = names.indexOf(event.target as HTMLElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (at < 0 || next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.stopAt(next)?.focus();
  }

  /** Each role with its evidence. */
  private showRoles(head: Head): void {
    const roles = this.statistics.roles(head);
    this.roles.hidden = roles.length === 0;
    this.roles.replaceChildren(
      ...roles.map(({ name, sentence, value, rests, kind }, i) =>
        h(
          "details",
          { "data-role": name, "data-value": value, name: "role", open: i === 0 && !rests && !this.low },
          h(
            "summary",
            {},
            h("span", { class: rests ? "model-rests" : "model-badge" }, name),
            kind ? "" : ` ${percent(value)}`,
          ),
          h("p", {}, sentence),
        ),
      ),
    );
  }

  /** A strip above the grid has no room for a sentence until one asks. */
  private get low(): boolean {
    return this.element.clientWidth !== PANEL;
  }

  private showLink(head: Head, lines: boolean): void {
    const { site } = head;
    const link = site.links?.[head.head];
    const thumb = site.thumb;
    this.ring.hidden = !link || !thumb || lines;
    this.link.hidden = !link;
    if (!link || !thumb) return;
    const parts = linkSaid(head, link, this.labels).flatMap((part) =>
      typeof part === "string"
        ? part.split(PERCENT).map((text, i) => (i % 2 ? h("span", { class: "num" }, text) : text))
        : [tokenElement(part.token), after(part)],
    );
    this.link.replaceChildren(
      h("span", { class: "what" }, thumb.zero === undefined ? "strongest link" : "changed most"),
      " ",
      ...parts,
    );
    const [row, column] = [
      patchOf(link[0] - (site.query_offset ?? 0), thumb.queries ?? site.queries, thumb.rows),
      patchOf(link[1], thumb.keys ?? site.keys, thumb.columns),
    ];
    const { style } = this.ring;
    style.left = `${(100 * (column + 0.5)) / thumb.columns}%`;
    style.top = `${(100 * (row + 0.5)) / thumb.rows}%`;
  }

  /** Sizes changed: the picture is drawn again. */
  forget(): void {
    this.drawn = "";
  }
}
