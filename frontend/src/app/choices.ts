/** What the reader picks in the frame: a query, a key, a layer, a head. */

import type { Filter, State } from "../base/state";
import type { Source } from "../data/source";
import type { Scene } from "../scene/scene";
import type { Navigation } from "./navigation";
import type { CrumbName } from "./parts/crumbs";
import type { Hint } from "./parts/hint";
import type { Notices } from "./parts/notices";
import { queryRange } from "./validate-state";
import type { Step } from "./view";

export class Choices {
  private pinnedByReader = false;

  constructor(
    private readonly navigation: Navigation,
    private readonly notices: Notices,
    private readonly hint: Hint,
    private readonly source: Source,
    private readonly scene: () => Scene,
  ) {}

  set(change: Partial<State>, step: Step): void {
    if (change.key !== undefined) {
      this.pinnedByReader = change.key !== null;
      if (change.key !== null) this.hint.did("number");
    }
    this.navigation.change(change, step);
  }

  /** A key that the opening chose gives way to the strongest of the next query; one that the reader pinned stays. */
  query(query: number): void {
    const { site, queryLabels } = this.scene();
    const [first, last] = queryRange(site);
    if (query < first || query > last) {
      const { text } = queryLabels[query];
      this.notices.replace([`${text} at ${query} is a key here, not a query: queries are ${first}–${last}.`]);
      return;
    }
    this.hint.did("word");
    const change: Partial<State> = { query };
    if (!this.pinnedByReader) change.key = null;
    const { filter } = this.navigation.state;
    if (filter !== "all") change.filter = `${"ab"[queryLabels[query].segment] ?? "a"}${filter[1]}` as Filter;
    this.navigation.change(change, "set");
  }

  crumb(name: CrumbName, value: string): void {
    if (name === "layer") {
      const site = this.source.meta.sites.find((one) => String(one.index) === value);
      if (site) this.navigation.change({ stack: site.stack, layer: site.layer }, "go");
    } else if (name === "query") this.query(Number(value));
    else if (name === "key") this.set({ key: value === "" ? null : Number(value) }, "set");
    else this.navigation.change({ head: Number(value) }, "go");
  }
}
