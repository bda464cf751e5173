/** The page's tools: what is shown of the tokens, the theme, and what a reader takes away. */

import type { Filter, State } from "../base/state";
import type { Metadata } from "../data/metadata";
import type { Picture } from "../scene/level";
import type { Scene } from "../scene/scene";
import { pythonPanel, savePanel } from "./export/export-panels";
import type { Panels } from "./parts/panels";
import { Tools } from "./parts/tools";
import { withoutModel } from "./parts/without-model";
import { filtered } from "./validate-state";
import type { Dock } from "./view";

interface Page {
  scene(): Scene;
  state(): State;
  picture(): Promise<Picture | null> | Picture | null;
  set(change: Partial<State>): void;
  /** Of a comparison: what both sides are. */
  metas?: [Metadata, Metadata];
  dock: Dock | null;
}

export function toolsOf(meta: Metadata, panels: Panels, help: HTMLButtonElement, page: Page): Tools {
  const edit =
    page.dock?.opener ?? panels.opener("edit", "edit heads", { "data-tool": "edit" }, () => withoutModel(page.scene()));
  const takeAway = [
    edit,
    panels.opener("save", "save a picture", { "data-tool": "save" }, () => savePanel(page.scene(), page.picture)),
    panels.opener("Python", "copy as Python", { "data-tool": "python" }, () =>
      pythonPanel(page.scene(), page.metas, page.dock?.editLines),
    ),
    help,
  ];
  const choices = {
    filter: (filter: Filter) => {
      const { queryLabels, keyLabels } = page.scene();
      page.set(filtered(filter, page.state(), queryLabels, keyLabels));
    },
    theme: (theme: State["theme"]) => page.set({ theme }),
    special: (special: State["special"]) => page.set({ special }),
    words: (words: boolean) => page.set({ words }),
    pooled: (pooled: boolean) => page.set({ pooled }),
  };
  return new Tools(meta, choices, takeAway);
}
