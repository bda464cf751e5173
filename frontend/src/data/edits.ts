/** What a live view asks about edits, and the answers of attnscope.live_edits (docs/payload.md). */

export interface EditQuestion {
  edits: string[];
  /** Ids of what is asked about; null: the most probable prediction, and the next one. */
  target: number | null;
  against: number | null;
  /** The first draw of other heads that is asked for; without it, predictions before and after. */
  first?: number;
}

type Both = [number | null, number | null];

export interface EditAnswer {
  edits: string[];
  task: "next" | "fill" | "label" | "state";
  measure: string;
  /** The leading prediction, and the one that its score is against. */
  asked: { id: number; text: string }[];
  /** Without and with the edits. */
  score: Both;
  kl: number | null;
  predictions: { id: number; text: string; probability: Both }[];
  /** Of a model that predicts nothing: cosine and ‖x'‖ / ‖x‖ of the mean, and by token. */
  state: { mean: Both; cosine: (number | null)[]; size: (number | null)[] } | null;
}

/** Totals (without − with) of the same edits in other heads. */
export interface BandPiece {
  totals: (number | null)[];
  draws: number;
  reach: number;
}

export type AskEdits = (question: EditQuestion) => Promise<EditAnswer | BandPiece>;
