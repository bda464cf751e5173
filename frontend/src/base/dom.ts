/** Elements without markup: everything that comes from data is set as text, never parsed. */

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | null | undefined>;

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/** Writes only what differs: most of a redraw changes nothing. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string | null): void {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** These children and no others; one that has the focus keeps it. */
export function setChildren(element: Element, children: readonly HTMLElement[]): void {
  const there = element.children;
  if (children.length === there.length && children.every((one, i) => one === there[i])) return;
  const focused = children.find((one) => one.matches(":focus"));
  element.replaceChildren(...children);
  focused?.focus({ preventScroll: true });
}

export function button(name: string, attributes: Attributes, onClick: () => void): HTMLButtonElement {
  const element = h("button", { type: "button", ...attributes }, name);
  element.addEventListener("click", onClick);
  return element;
}

/** Runs when the browser has nothing better to do. */
export function whenIdle(work: () => void): () => void {
  if (typeof requestIdleCallback === "function") {
    const id = requestIdleCallback(work, { timeout: 2000 });
    return () => cancelIdleCallback(id);
  }
  const id = setTimeout(work, 200);
  return () => clearTimeout(id);
}

/** For changes that need not show at once: runs after the next frame was shown; a later call replaces an earlier one. */
export class AfterFrame {
  private frame = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  run(work: () => void): void {
    this.cancel();
    this.frame = requestAnimationFrame(() => {
      this.frame = requestAnimationFrame(() => {
        this.timer = setTimeout(work);
      });
    });
  }

  cancel(): void {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
  }
}
