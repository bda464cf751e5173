/** model ▸ layer ▸ head ▸ query ▸ key: where one is, and each part a menu. */

import { button, h, setText } from "../../base/dom";
import { count } from "../../base/format";
import type { Metadata, Site } from "../../data/metadata";
import { compact, inLine, type Label } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { queryRange, siteName } from "../validate-state";

export type CrumbName = "layer" | "head" | "query" | "key";

interface Option {
  value: string;
  text: string;
}

/** A native menu under a text of our own. */
class Crumb {
  readonly element: HTMLElement;
  private readonly shown = h("span", { class: "crumb-value" });
  private readonly select: HTMLSelectElement;
  private current: Option = { value: "", text: "" };
  private filled = "";

  constructor(
    readonly name: CrumbName,
    private readonly options: () => Option[],
    /** A menu of a few: always filled. Else it is filled while it is open, for a text can be long. */
    private readonly short: boolean,
    choose: (value: string) => void,
  ) {
    this.select = h("select", { "aria-label": name, "data-crumb": name });
    for (const type of ["pointerdown", "focus", "keydown"]) this.select.addEventListener(type, () => this.fill());
    this.select.addEventListener("change", () => {
      const { value } = this.select;
      this.select.value = this.current.value;
      choose(value);
    });
    this.select.addEventListener("blur", () => this.empty());
    this.element = h(
      "span",
      { class: `crumb crumb-${name}` },
      h("span", { class: "crumb-name" }, name),
      this.shown,
      this.select,
    );
  }

  show(value: string, text: string): void {
    const changed = value !== this.current.value || text !== this.current.text;
    this.current = { value, text };
    setText(this.shown, text);
    if (this.short) {
      this.refill();
      return;
    }
    if (!changed && this.select.options.length) return;
    if (this.select.options.length > 1) this.select.value = value;
    if (this.select.options.length < 2 || this.select.value !== value) this.empty();
  }

  private refill(): void {
    const options = this.options();
    const key = options.map(({ text }) => text).join("\n");
    if (key !== this.filled) {
      this.filled = key;
      this.select.replaceChildren(...options.map(({ value, text }) => h("option", { value }, text)));
    }
    this.select.value = this.current.value;
  }

  private fill(): void {
    if (this.short || this.select.options.length > 1) return;
    this.select.replaceChildren(...this.options().map(({ value, text }) => h("option", { value }, text)));
    this.select.value = this.current.value;
  }

  private empty(): void {
    if (this.short) return;
    this.select.replaceChildren(h("option", { value: this.current.value }, this.current.text));
    this.select.value = this.current.value;
  }
}

export interface CrumbHost {
  meta: Metadata;
  scene(): Scene | null;
  held(site: Site): boolean;
  holds(site: Site, head: number): boolean;
  /** There is a coarse picture. */
  pictured(site: Site, head: number): boolean;
  choose(name: CrumbName, value: string): void;
}

const tokenOption = (label: Label): Option => ({
  value: String(label.index),
  text: `${label.index}  ${inLine(label)}`,
});

export class Crumbs {
  readonly element: HTMLElement;
  readonly about: HTMLElement;
  private readonly model: HTMLButtonElement;
  private readonly crumbs: Crumb[];

  constructor(host: CrumbHost) {
    const { meta } = host;
    const options: Record<CrumbName, () => Option[]> = {
      layer: () =>
        meta.sites.map((site) => ({
          value: String(site.index),
          text: `${site.stack ? "" : "layer "}${siteName(site, meta)}${host.held(site) ? "" : host.pictured(site, 0) ? "  · pictures only" : "  · not held here"}`,
        })),
      head: () => {
        const site = host.scene()?.site;
        return Array.from({ length: site?.heads ?? 0 }, (_, i) => ({
          value: String(i),
          text: `head ${i}${site && host.holds(site, i) ? "" : site && host.pictured(site, i) ? "  · picture only" : "  · not held here"}`,
        }));
      },
      query: () => {
        const scene = host.scene();
        if (!scene) return [];
        const [first, last] = queryRange(scene.site);
        return scene.queryLabels.slice(first, last + 1).map(tokenOption);
      },
      key: () => [
        { value: "", text: "strongest key" },
        ...(host.scene()?.keyLabels.slice(0, host.scene()?.site.keys).map(tokenOption) ?? []),
      ],
    };
    this.crumbs = (["layer", "head", "query", "key"] as const).map(
      (name) =>
        new Crumb(name, options[name], name === "layer" || name === "head", (value) => host.choose(name, value)),
    );
    this.about = aboutModel(meta);
    const attributes = { class: "crumb crumb-model", "data-crumb": "model", "aria-expanded": "false" };
    this.model = button("", attributes, () => this.open(this.about.hidden));
    this.model.append(h("span", { class: "crumb-value" }, meta.model.name || "model"));
    const parts: HTMLElement[] = [this.model];
    for (const crumb of this.crumbs) parts.push(h("span", { class: "sep", "aria-hidden": "true" }, "▸"), crumb.element);
    this.element = h("nav", { class: "crumbs", "aria-label": "where you are" }, ...parts);
  }

  /** Closes the facts about the model; false when they were not open. */
  close(): boolean {
    const was = !this.about.hidden;
    this.open(false);
    return was;
  }

  private open(open: boolean): void {
    this.about.hidden = !open;
    this.model.setAttribute("aria-expanded", String(open));
  }

  show(scene: Scene): void {
    const { site, query, key, pinned, queryLabels, keyLabels, state, picture } = scene;
    const [layer, head, queryCrumb, keyCrumb] = this.crumbs;
    layer.show(String(site.index), siteName(site, scene.meta));
    head.show(String(state.head), String(state.head));
    queryCrumb.show(String(query), compact(queryLabels[query].text));
    keyCrumb.show(pinned ? String(key) : "", picture && !pinned ? "–" : compact(keyLabels[key].text));
  }
}

function aboutModel(meta: Metadata): HTMLElement {
  const { model, versions, tokens, sites } = meta;
  const stacks = [...new Set(sites.map((site) => site.stack))];
  const shape = stacks.map((stack) => {
    const of = sites.filter((site) => site.stack === stack);
    return `${stack ? `${stack}: ` : ""}${count(of.length, "layer")} × ${count(of[0].heads, "head")}${of[0].kv_heads < of[0].heads ? ` (${of[0].kv_heads} for keys and values)` : ""}`;
  });
  const rows: [string, string][] = [
    ["model", [model.name, model.class, model.revision && `revision ${model.revision}`].filter(Boolean).join(", ")],
    ["attention", shape.join("; ")],
    ["computed by", `${model.implementation} in ${model.dtype}`],
    ["text", tokens.map((table) => count(table.text.length, "token")).join(" and ")],
    [
      "versions",
      Object.entries(versions ?? {})
        .map(([name, version]) => `${name} ${version}`)
        .join(", "),
    ],
    ...(meta.notes ?? []).map((note): [string, string] => ["note", note]),
  ];
  const list = h(
    "dl",
    { class: "about", "data-about": true },
    ...rows.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]),
  );
  list.hidden = true;
  return list;
}
