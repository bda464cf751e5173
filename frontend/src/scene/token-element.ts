/** A token as an element: its own direction, and a font in which its letters join where they are of a script that joins. */

import { h } from "../base/dom";
import { joins } from "./labels";

/** The attributes of a token's element. A name whose parts are isolated, "happy (in unhappy)", is a line from the left. */
export const tokenLook = (text: string, more = "") => ({
  class: `tok${joins(text) ? " joins" : ""}${more && ` ${more}`}`,
  dir: text.startsWith("\u2068") ? "ltr" : "auto",
});

export const tokenElement = (text: string, more = "") => h("bdi", tokenLook(text, more), text);

/** The text of an element that shows one token after another. */
export function setToken(element: HTMLElement, text: string, ...children: (HTMLElement | string)[]): void {
  element.classList.toggle("joins", joins(text));
  element.replaceChildren(...(children.length ? children : [text]));
}
