/** Where the stream of the query is not held: where it is, and the way there. */

import { button, h } from "../../base/dom";
import { ranges } from "../../base/format";
import type { Site } from "../../data/metadata";
import type { StreamTable } from "../../data/stream";
import { inLine, type Label } from "../../scene/labels";
import type { Scene } from "../../scene/scene";

export function heldAt({ note: { positions } }: StreamTable): string {
  return `${positions.length === 1 ? "position" : "positions"} ${ranges(positions)}`;
}

export class NotHeld {
  readonly element = h("div", { class: "message", role: "note", "data-not-held": true });

  /** `site`: the first layer of this stream, along whose queries positions count. */
  constructor(
    private readonly table: StreamTable,
    private readonly labels: Label[],
    private readonly site: Site,
    private readonly go: (position: number) => void,
  ) {}

  /** `row`: of the query in the table; −1 where it is not held. */
  draw(scene: Scene, row: number): void {
    this.element.hidden = row >= 0;
    if (row >= 0) return;
    const { table, labels } = this;
    const other = scene.site.query_tokens !== this.site.query_tokens;
    const nearest = other ? (table.note.positions.at(-1) as number) : table.nearest(scene.query);
    const whose = other ? ` of the ${table.note.stack ?? "other text"}` : "";
    this.element.replaceChildren(
      `This trace holds the stream${whose} at ${heldAt(table)}. `,
      button(`go to “${inLine(labels[nearest])}” at ${nearest}`, { class: "link", "data-nearest": nearest }, () =>
        this.go(nearest),
      ),
      '. Opened on this level, show(…, level="stream") holds all.',
    );
  }
}
