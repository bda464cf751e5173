/** What was undone can be redone, until something else is edited. */

import type { EditHistory } from "../../app/view";

const same = (a: string[], b: string[]) => String(a) === String(b);

export class Undo {
  constructor(private readonly history: EditHistory) {}

  /** The edits are these now. `merge`: a step of the same drag. */
  see(edits: string[], merge: boolean): void {
    const { past, at } = this.history;
    if (same(edits, past[at])) return;
    const kept = merge && at > 0 ? at : at + 1;
    past.splice(kept, past.length, edits);
    this.history.at = kept;
  }

  /** The edits before (−1) or after (1); null where there are none. */
  peek(by: -1 | 1): string[] | null {
    return this.history.past[this.history.at + by] ?? null;
  }

  go(by: -1 | 1): string[] | null {
    const edits = this.peek(by);
    if (edits) this.history.at += by;
    return edits;
  }
}
