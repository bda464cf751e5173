/** One question at a time: the newest waits for the answer that is under way, and the band, which comes after, makes way for it. */

import type { AskEdits, BandPiece, EditAnswer, EditQuestion } from "../../data/edits";

/** Milliseconds in which a newer edit may come before the band is asked for. */
const PAUSE = 400;

export interface Band {
  totals: number[];
  draws: number;
  reach: number;
}

export interface AskingHost {
  /** `fresh`: no newer edit waits. */
  answered(answer: EditAnswer, fresh: boolean): void;
  band(band: Band): void;
  failed(message: string): void;
}

export class Asking {
  private wanted: EditQuestion | null = null;
  private running = false;
  private closed = false;
  private wake = () => {};

  constructor(
    private readonly send: AskEdits,
    private readonly host: AskingHost,
  ) {}

  ask(question: EditQuestion): void {
    this.wanted = question;
    this.wake();
    if (!this.running) void this.run();
  }

  destroy(): void {
    this.closed = true;
    this.wanted = null;
    this.wake();
  }

  private async run(): Promise<void> {
    this.running = true;
    for (let question = this.take(); question; question = this.take()) {
      try {
        const answer = (await this.send(question)) as EditAnswer;
        if (this.closed) break;
        this.host.answered(answer, this.wanted === null);
        if (question.edits.length) await this.draw(question);
      } catch (error) {
        if (!this.closed) this.host.failed(error instanceof Error ? error.message : String(error));
      }
    }
    this.running = false;
  }

  private take(): EditQuestion | null {
    const { wanted } = this;
    this.wanted = null;
    return wanted;
  }

  /** The same edits in other heads, a few at a time. */
  private async draw(question: EditQuestion): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, PAUSE);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.wanted) this.wake();
    });
    const totals: number[] = [];
    while (!this.wanted && !this.closed) {
      const piece = (await this.send({ ...question, first: totals.length })) as BandPiece;
      totals.push(...piece.totals.map((total) => total ?? Number.NaN));
      if (this.wanted || this.closed) return;
      this.host.band({ totals, draws: piece.draws, reach: piece.reach });
      if (!piece.totals.length || totals.length >= piece.draws) return;
    }
  }
}
