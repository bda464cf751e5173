/** How much height a picture has in sight. */

export interface VisibleHeight {
  /** Between what sticks to the top and to the bottom. */
  always: number;
  /** From where the element begins, without scrolling the page. */
  atOnce: number;
}

export function visibleHeightOf(element: HTMLElement, { top, bottom }: { top: number; bottom: number }): VisibleHeight {
  const style = getComputedStyle(element);
  const px = (name: string) => Number.parseFloat(style.getPropertyValue(name)) || 0;
  const scrolled = element.closest(".scope")?.scrollTop ?? 0;
  const begin = element.getBoundingClientRect().top - top + scrolled;
  return {
    always: bottom - top - px("--bar") - px("--foot"),
    atOnce: bottom - top - begin - px("--foot"),
  };
}
