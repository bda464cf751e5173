/** What a reader takes away: the picture as a file, the view as Python. */

import { button, h, setText } from "../../base/dom";
import { download } from "../../base/download";
import type { Metadata } from "../../data/metadata";
import { type EditLines, python, pythonOfPair } from "../../scene/as-python";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { type Format, fileName, fileOf, provenance } from "./save";
import { withImages } from "./with-images";
import { withSounds } from "./with-sounds";

const wrong = (error: unknown) => (error instanceof Error ? error.message : String(error));

export function savePanel(scene: Scene, picture: () => Promise<Picture | null> | Picture | null): HTMLElement[] {
  const status = h("p", { role: "status", "data-status": true });
  const save = async (format: Format) => {
    try {
      const drawn = await picture();
      if (!drawn) {
        setText(status, "There is no picture of this level just now.");
        return;
      }
      const name = fileName(scene, format);
      download(await fileOf(withSounds(withImages(drawn, scene), scene), format, provenance(scene)), name);
      setText(status, `Saved as ${name}.`);
    } catch (error) {
      setText(status, wrong(error));
    }
  };
  const one = (format: Format, text: string) =>
    button(text, { class: "choice", "data-save": format }, () => void save(format));
  return [
    h("h2", {}, "Save this picture"),
    h("p", {}, "Model, revision, text, place, versions, dtype and receipt are written inside."),
    h("p", { class: "choices" }, one("svg", "SVG, for paper"), one("png", "PNG")),
    status,
  ];
}

/** Asked where a browser can tell beforehand: an attempt would be an error in its log. */
function forbidden(): boolean {
  type Policy = { allowsFeature(name: string): boolean };
  const { featurePolicy } = document as Document & { featurePolicy?: Policy };
  return featurePolicy?.allowsFeature("clipboard-write") === false;
}

/** `pair`: the two traces of a comparison. */
export function pythonPanel(scene: Scene, pair?: [Metadata, Metadata], edits?: EditLines): HTMLElement[] {
  const code = pair ? pythonOfPair(pair, scene.state, edits) : python(scene.meta, scene.state, edits);
  const lines = code.split("\n").length;
  const box = h("textarea", { readonly: true, rows: Math.min(20, lines), spellcheck: "false", "aria-label": "Python" });
  box.dataset.python = "";
  box.value = code;
  const status = h("p", { role: "status", "data-status": true });
  const copy = async () => {
    try {
      if (forbidden()) throw new Error();
      await navigator.clipboard.writeText(code);
      setText(status, "Copied.");
    } catch {
      // refused in frames and by some hosts
      box.focus();
      box.select();
      setText(
        status,
        "This browser does not let a page copy here: the lines are selected, copy them with the keyboard.",
      );
    }
  };
  return [
    h("h2", {}, "As Python"),
    h("p", {}, "These lines rebuild what is on screen."),
    box,
    h(
      "p",
      { class: "choices" },
      button("copy", { class: "choice", "data-copy": true }, () => void copy()),
    ),
    status,
  ];
}
