/** Long work in slices, so that no frame waits for it; the first begins when the frame that asked for it was shown. */

const SLICE = 10; // ms of a frame

export class TimeSlices {
  private frame = 0;

  /** `step` does a little and says whether there is more; `shown` runs once a frame after it; `done` at the end. */
  run(step: () => boolean, shown: () => void, done: () => void): void {
    this.cancel();
    const turn = () => {
      const until = performance.now() + SLICE;
      let more = step();
      while (more && performance.now() < until) more = step();
      this.frame = more ? requestAnimationFrame(turn) : 0;
      shown();
      if (!more) done();
    };
    this.frame = requestAnimationFrame(() => {
      this.frame = requestAnimationFrame(turn);
    });
  }

  /** True where there was more to do. */
  cancel(): boolean {
    const running = this.frame !== 0;
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    return running;
  }
}
