/** SVG as text, for pictures that leave the page: every value is escaped. */

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

/** Lines of at most about `width` characters. */
export function wrapped(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(/(?<=\s)/)) {
    if (lines[lines.length - 1] !== "" && (lines[lines.length - 1] + word).trimEnd().length > width) lines.push("");
    lines[lines.length - 1] += word;
  }
  return lines.map((line) => line.trim());
}
