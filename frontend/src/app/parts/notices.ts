/** What is wrong or missing, in the view itself until the reader dismisses it. */
import { button, h } from "../../base/dom";

export class Notices {
  readonly element = h("div", { class: "notices", role: "status", "data-notices": true });
  private passing: Element[] = [];

  /** The same text stands here once. */
  add(text: string): void {
    for (const line of this.element.children) if (line.firstElementChild?.textContent === text) return;
    const line = h("p", { class: "notice" }, h("span", {}, text));
    line.append(button("×", { class: "quiet", "aria-label": "dismiss" }, () => line.remove()));
    this.element.append(line);
  }

  /** What is wrong with the last change, in place of what was wrong with the one before. */
  replace(problems: string[]): void {
    for (const line of this.passing) line.remove();
    const before = new Set(this.element.children);
    for (const text of problems) this.add(text);
    this.passing = [...this.element.children].filter((line) => !before.has(line));
  }
}
