/** The text, in one ribbon where queries and keys are the same tokens, else in two; images beside it, a sound above it. */
import { h } from "../../base/dom";
import type { Scene } from "../../scene/scene";
import { Pictures } from "./pictures";
import { Ribbon, type RibbonHost } from "./ribbon";
import { Sounds } from "./sounds";

export class Ribbons {
  readonly element = h("div", { class: "ribbons" });
  private readonly pictures: Pictures;
  private readonly sounds: Sounds;
  private views: Ribbon[] = [];
  private tables = "";

  constructor(
    private readonly host: RibbonHost,
    private readonly id: string,
  ) {
    this.pictures = new Pictures(host, `${id}p`);
    this.sounds = new Sounds(host, `${id}s`);
  }

  draw(scene: Scene): void {
    const { query_tokens: queries, key_tokens: keys } = scene.site;
    if (this.tables !== `${queries},${keys}`) {
      this.tables = `${queries},${keys}`;
      const { host, id } = this;
      this.destroy();
      this.views =
        queries === keys
          ? [new Ribbon("both", null, host, `${id}b`)]
          : [new Ribbon("query", "queries", host, `${id}q`), new Ribbon("key", "keys", host, `${id}k`)];
      this.pictures.build(scene);
      this.sounds.build(scene);
      this.element.classList.toggle("pictured", !this.pictures.element.hidden);
      this.element.replaceChildren(
        this.sounds.element,
        this.pictures.element,
        ...this.views.map((ribbon) => ribbon.element),
      );
    }
    this.pictures.draw(scene);
    this.sounds.draw(scene);
    for (const ribbon of this.views) ribbon.draw(scene);
  }

  /** The keyboard into the text. */
  focus(): void {
    this.element.querySelector<HTMLElement>("[data-ribbon]")?.focus();
  }

  /** Opens the search in the text where the keyboard is, or in the first. */
  seek(): void {
    (this.views.find((ribbon) => ribbon.focused) ?? this.views[0])?.seek();
  }

  /** Closes a search; false when none was open. */
  close(): boolean {
    return this.views.some((ribbon) => ribbon.close());
  }

  destroy(): void {
    for (const ribbon of this.views) ribbon.destroy();
  }

  look(): void {
    for (const ribbon of this.views) ribbon.look();
  }
}
