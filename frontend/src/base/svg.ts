/** SVG as text, for pictures that leave the page: every value is escaped. */

export const MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace";
export const SANS = "system-ui, 'DejaVu Sans', Arial, sans-serif";

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** What XML 1.0 cannot hold is shown as a replacement character. */
export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ESCAPES[c]).replace(/[^\P{Cc}\t\n\r]|[\ufffe\uffff]|\p{Cs}/gu, "\ufffd");
}

export function tag(name: string, attributes: Record<string, string | number>, ...children: string[]): string {
  const given = Object.entries(attributes).map(
    ([key, value]) => ` ${key}="${typeof value === "number" ? Number(value.toFixed(2)) : escaped(value)}"`,
  );
  return `<${name}${given.join("")}${children.length ? `>${children.join("")}</${name}>` : "/>"}`;
}

/** A whole picture: its ground, then what stands on it. `title` is what it shows, for those who do not see it. */
export function sheet(
  title: string,
  [width, height]: [number, number],
  colours: { ink: string; ground: string },
  size: number,
  ...children: string[]
): { svg: string; width: number; height: number } {
  const svg = tag(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      "font-family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif",
      "font-size": size,
      fill: colours.ink,
    },
    tag("title", {}, escaped(title)),
    tag("rect", { width, height, fill: colours.ground }),
    ...children,
  );
  return { svg, width, height };
}

/** Lines of at most about `width` characters. */
export function wrapped(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(/(?<=\s)/)) {
    if (lines[lines.length - 1] !== "" && (lines[lines.length - 1] + word).trimEnd().length > width) lines.push("");
    lines[lines.length - 1] += word;
  }
  return lines.map((line) => line.trim());
}

const NARROW = /[ ijlI1tfr.,:;'!|()[\]\u2018\u2019\u201c\u201d]/u;
const WIDE =
  /[mwMWOQGD@%\u2014\u2026\u2212\xd7]|[\u1100-\u115f\u2e80-\ud7af\uf900-\ufaff\uff00-\uff60]|[\u{1f000}-\u{3ffff}]/u;

/** About how wide text is in a sans font, rather too wide than too narrow. */
export function estimated(text: string, size: number): number {
  let em = 0;
  for (const c of text) em += NARROW.test(c) ? 0.42 : WIDE.test(c) ? 1 : 0.64;
  return em * size;
}

/** Lines no wider than `width`; a word that is wider is cut. */
export function fitting(text: string, width: number, size: number): string[] {
  const lines = [""];
  const fits = (line: string) => estimated(line.trimEnd(), size) <= width;
  for (const word of text.split(/(?<=\s)/)) {
    const last = lines.length - 1;
    if (fits(lines[last] + word)) lines[last] += word;
    else {
      if (lines[last] !== "") lines.push("");
      for (const c of word) {
        if (!fits(lines[lines.length - 1] + c)) lines.push("");
        lines[lines.length - 1] += c;
      }
    }
  }
  return lines.map((line) => line.trim());
}
