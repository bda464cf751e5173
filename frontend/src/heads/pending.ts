/** Waits for heads that are on their way. */

export class Pending {
  private turn = 0;

  /** `arrived`: some have come. `notice`: says why others will not. */
  constructor(
    private readonly arrived: () => void,
    private readonly notice: (text: string) => void,
  ) {}

  /** In place of what was waited for before. */
  wait(coming: Promise<unknown>[]): void {
    const turn = ++this.turn;
    if (!coming.length) return;
    void Promise.allSettled(coming).then((ends) => {
      if (turn !== this.turn) return;
      const failed = ends.find((end) => end.status === "rejected");
      if (failed) this.notice(String(failed.reason?.message ?? failed.reason));
      if (ends.some((end) => end.status === "fulfilled")) this.arrived();
    });
  }

  cancel(): void {
    this.turn++;
  }
}
