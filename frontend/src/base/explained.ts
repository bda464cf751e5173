/** Elements that explain themselves: the words are kept here, the frame shows them under the pointer, on focus and on tap. */

type Words = string | (() => string);

const known = new WeakMap<Element, Words>();

export const EXPLAINED = "[data-explained]";

/** In place of `title=`, which a finger and a keyboard never see. Words that change are a function. */
export function explained<E extends HTMLElement>(element: E, words: Words): E {
  element.dataset.explained = "";
  known.set(element, words);
  return element;
}

export function explanationOf(element: Element): string {
  const words = known.get(element) ?? "";
  return typeof words === "string" ? words : words();
}
