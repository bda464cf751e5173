/** Numbers as they are read: U+2212 for minus, "<0.1 %" for a trace of weight. */

export const MINUS = "\u2212";
const HUGE = 1e21; // from here on with an exponent, as toFixed has it, but short

export function fixed(value: number, digits: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+∞" : `${MINUS}∞`;
  const size = Math.abs(value);
  const text = size >= HUGE ? size.toExponential(2) : size.toFixed(digits);
  const zero = /^[0.]+$/.test(text);
  return value < 0 && !zero ? MINUS + text : text;
}

/** As many decimals as a quantity of this size needs. */
export function decimals(domain: number): number {
  if (!(domain > 0)) return 2;
  return domain >= 1000 ? 0 : domain >= 100 ? 1 : domain >= 1 ? 2 : domain >= 0.1 ? 3 : 4;
}

/** A weight or a share in a table: one decimal. */
export function percent(part: number): string {
  if (Number.isNaN(part)) return "NaN";
  if (part <= -0.0005) return MINUS + percent(-part);
  if (part === 0) return "0 %";
  if (part < 0.0005) return "<0.1 %";
  return `${(part * 100).toFixed(1)} %`;
}

/** A weight or a share in a sentence: whole percent, one decimal below 1 %. */
export function percentInWords(part: number): string {
  if (Number.isNaN(part)) return "NaN";
  if (part <= -0.0005) return MINUS + percentInWords(-part);
  if (part >= 0.00995) return `${Math.round(part * 100)} %`;
  if (part < 0.0005) return part === 0 ? "0 %" : "less than 0.1 %";
  return `${(part * 100).toFixed(1)} %`;
}

/** A difference of weights, with its sign: "+5.3 %", "−21.7 %", "0 %". */
export function change(part: number): string {
  if (!Number.isFinite(part)) return fixed(part, 1);
  const text = fixed(part * 100, 1);
  return /^[0.]+$/.test(text) ? "0 %" : `${part > 0 ? "+" : ""}${text} %`;
}

/** A small error: 2.4e-7 with the minus of the field. */
export function scientific(value: number): string {
  if (!Number.isFinite(value)) return fixed(value, 0);
  if (value === 0) return "0";
  if (value >= 0.01 && value < 1000) return Number(value.toPrecision(2)).toString();
  return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
}

/** The end of a domain, without noise: 3, 0.25, 1200. */
export function domainEnd(value: number): string {
  return Number(value.toPrecision(3)).toString();
}

export const symmetric = (domain: number) => `${MINUS}${domainEnd(domain)} … +${domainEnd(domain)}`;

export function count(n: number, one: string, many = `${one}s`): string {
  return `${String(n).replace(/\B(?=(\d{3})+$)/g, ",")} ${n === 1 ? one : many}`;
}

export function list(parts: string[]): string {
  return parts.length < 2 ? (parts[0] ?? "") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

/** Whole numbers as ranges: 0–2, 4. */
export function ranges(numbers: number[]): string {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let j = i;
    while (sorted[j + 1] === sorted[j] + 1) j++;
    parts.push(j === i ? `${sorted[i]}` : j === i + 1 ? `${sorted[i]}, ${sorted[j]}` : `${sorted[i]}–${sorted[j]}`);
    i = j + 1;
  }
  return parts.join(", ");
}

/** One number as the readout gives it. */
export const precise = (value: number) =>
  Number.isFinite(value) && value !== 0 && (Math.abs(value) < 0.001 || Math.abs(value) >= 1e6)
    ? value.toExponential(3).replace("-", MINUS)
    : fixed(value, 4);
