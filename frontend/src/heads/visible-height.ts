/** How much height a picture has in sight. */

export interface VisibleHeight {
  /** Between what sticks to the top and to the bottom. */
  always: number;
  /** From where the element begins, without scrolling the page. */
  atOnce: number;
}

const px = (style: CSSStyleDeclaration, name: string) => Number.parseFloat(style.getPropertyValue(name)) || 0;

/** From where an element begins down to the foot, in a frame that is not scrolled. */
export function heightFrom(element: HTMLElement): number {
  const scope = element.closest(".scope");
  if (!scope) return 0;
  const style = getComputedStyle(element);
  const begin = element.getBoundingClientRect().top - scope.getBoundingClientRect().top + scope.scrollTop;
  return px(style, "--sight") - begin - px(style, "--foot");
}

export function visibleHeightOf(element: HTMLElement, { top, bottom }: { top: number; bottom: number }): VisibleHeight {
  const style = getComputedStyle(element);
  const scrolled = element.closest(".scope")?.scrollTop ?? 0;
  const begin = element.getBoundingClientRect().top - top + scrolled;
  return {
    always: bottom - top - px(style, "--bar") - px(style, "--foot"),
    atOnce: bottom - top - begin - px(style, "--foot"),
  };
}
