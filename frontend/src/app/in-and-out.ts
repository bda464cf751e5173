/** From level to level: Enter goes in, Escape closes what lies open, unpins, and goes out. */

import type { LevelName } from "../base/state";
import type { LevelHost } from "./level-host";
import { nextLevel } from "./level-order";
import type { Navigation } from "./navigation";
import type { Hint } from "./parts/hint";

interface Closing {
  /** False when nothing was open. */
  close(): boolean;
}

export class InAndOut {
  /** `open`: what may lie open over the level, the uppermost first. */
  constructor(
    private readonly navigation: Navigation,
    private readonly levels: LevelHost,
    private readonly hint: Hint,
    private readonly frame: { unpin(): void; open(): Closing[] },
  ) {}

  next(by: 1 | -1): LevelName | null {
    return nextLevel(this.navigation.state.level, by, this.levels.has, this.levels.drawing);
  }

  /** One level in or out, with what is selected; false at the end. */
  step(by: 1 | -1): boolean {
    const level = this.next(by);
    if (level) this.navigation.change({ level }, "go");
    return level !== null;
  }

  /** False where this view has no such level. */
  to(level: LevelName | undefined): boolean {
    if (!level || !this.levels.has(level)) return false;
    if (level !== this.navigation.state.level) this.navigation.change({ level }, "go");
    return true;
  }

  /** Closes what lies open, one after another; then it unpins; then it goes one level out. */
  escape(): void {
    const { level } = this.levels;
    if ([...this.frame.open(), level].some((one) => one?.close())) return;
    if (level?.name === "neuron" && this.navigation.state.key !== null) {
      this.frame.unpin();
      return;
    }
    if (this.step(-1)) this.hint.did("out");
  }

  /** What Escape does, in words. */
  escapes(): string | null {
    const { level, key } = this.navigation.state;
    const out = this.next(-1) && "goes out";
    if (level !== "neuron" || key === null) return out;
    return out ? "unpins, then goes out" : "unpins";
  }
}
