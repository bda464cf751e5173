/** The colours of the page that the grid is drawn in, read once a theme. */

import type { Ramp } from "../../base/scale";
import type { Colours } from "./plot";

export class ColoursOf {
  private known: { name: string; of: Colours } | null = null;

  constructor(private readonly element: HTMLElement) {}

  of({ palette: { ground } }: Ramp): Colours {
    if (this.known?.name !== ground) {
      const style = getComputedStyle(this.element);
      const read = (property: string) => style.getPropertyValue(`--${property}`).trim();
      const [text, muted, line, hatch, ink] = ["text", "muted", "line", "hatch", "ink"].map(read);
      this.known = { name: ground, of: { ground, text, muted, line, hatch, ink } };
    }
    return this.known.of;
  }
}
