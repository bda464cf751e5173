/** One stop for the keyboard among several buttons: arrows go from one to the next. */

const STEPS: Record<string, [down: number, across: number]> = {
  ArrowDown: [1, 0],
  ArrowUp: [-1, 0],
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
};

export class Roving {
  private row = 0;
  private column = 0;

  /** `rows`: the buttons as they are laid out now. */
  constructor(
    element: HTMLElement,
    private readonly rows: () => HTMLElement[][],
  ) {
    element.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      const at = this.placeOf(event.target);
      if (!step || !at || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      this.goTo(at[0] + step[0], at[1] + step[1])?.focus();
    });
    element.addEventListener("focusin", (event) => {
      const at = this.placeOf(event.target);
      if (at) this.goTo(...at);
    });
  }

  /** The button at a place, or the nearest, is the one stop. */
  goTo(row = this.row, column = this.column): HTMLElement | undefined {
    const rows = this.rows();
    this.row = Math.max(0, Math.min(rows.length - 1, row));
    this.column = Math.max(0, Math.min((rows[this.row]?.length ?? 1) - 1, column));
    const stop = rows[this.row]?.[this.column];
    for (const one of rows.flat()) one.tabIndex = one === stop ? 0 : -1;
    return stop;
  }

  private placeOf(target: EventTarget | null): [number, number] | null {
    for (const [i, row] of this.rows().entries()) {
      const j = row.indexOf(target as HTMLElement);
      if (j >= 0) return [i, j];
    }
    return null;
  }
}
