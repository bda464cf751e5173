/** A formula as it is printed: symbols in italics, and under each of them its shape with real numbers. */
import { h } from "../../base/dom";

/** A symbol with its shape, or what stands between: "=", "·", "+". */
export type Piece = string | { symbol: string; shape?: number[]; sub?: string };

export const shaped = (shape: number[]) => `[${shape.join(" × ")}]`;

/** Text with subscripts: W_q, b_O. The name of a parameter, such as self_attn.q_proj, keeps its underscores. */
export function subscripted(text: string): (Node | string)[] {
  // one letter, an underscore, one letter, and nothing that would make it a longer name
  return text
    .split(/(?<=(?<![\w.])[A-Za-z])_([A-Za-z])(?![\w.])/)
    .map((part, i) => (i % 2 ? h("sub", {}, part) : part));
}

/** For those who hear it, and for the picture. */
export function plain(pieces: Piece[]): string {
  return pieces
    .map((piece) =>
      typeof piece === "string"
        ? piece
        : `${piece.symbol}${piece.sub ? `_${piece.sub}` : ""}${piece.shape ? ` ${shaped(piece.shape)}` : ""}`,
    )
    .join(" ");
}

export function formula(pieces: Piece[]): HTMLElement {
  const parts = pieces.map((piece) => {
    if (typeof piece === "string") return h("span", { class: "f-sign" }, piece);
    const { symbol, sub, shape } = piece;
    return h(
      "span",
      { class: "f-term" },
      h("i", { class: "f-symbol" }, symbol, sub ? h("sub", {}, sub) : null),
      h("span", { class: "f-shape" }, shape ? shaped(shape) : "\u00a0"),
    );
  });
  return h("div", { class: "formula", role: "math", "aria-label": plain(pieces) }, ...parts);
}
