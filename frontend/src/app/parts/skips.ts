/** The first stops of the Tab key: past the bar, to the text or to what is drawn of it. Seen only while they have the focus. */
import { button, h } from "../../base/dom";

export function skips(to: { text(): void; level(): void }): HTMLElement {
  const skip = (name: string, target: string, go: () => void) =>
    button(name, { class: "skip", "data-skip": target }, go);
  return h(
    "nav",
    { class: "skips", "aria-label": "skip" },
    skip("Skip to the text", "text", () => to.text()),
    skip("Skip to the picture", "level", () => to.level()),
  );
}
