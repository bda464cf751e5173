/** Predicted tokens as they are shown: without the space before them, unless that tells two apart. */

const SPACES: Record<string, string> = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" };

const visible = (text: string) => text.replace(/\s/g, (c) => SPACES[c] ?? c);

/** A token alone; white space and nothing are made visible. */
export const shown = (text: string): string => text.trim() || visible(text) || "⟨empty⟩";

/** Tokens of one list, in which none may look like another. */
export function told(texts: string[]): string[] {
  const names = texts.map(shown);
  return names.map((name, i) => (names.indexOf(name) === names.lastIndexOf(name) ? name : visible(texts[i]) || name));
}
