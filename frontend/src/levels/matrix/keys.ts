/** What a key pressed on the grid means: a step of the cursor, a zoom, a pin, a level in. */
import type { Field } from "./field";
import type { Cursor } from "./marks";

export type Pressed = { walk: [row: number, column: number] } | { zoom: number } | "pin" | "enter" | null;

const ZOOM = 1.5;

/** `page`: rows in sight. `step`: cells that an arrow goes. Null: not for the grid. */
export function pressed(
  event: KeyboardEvent,
  cursor: Cursor,
  { rows, columns }: Field,
  page: number,
  step = 1,
): Pressed {
  const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
  const { row, column } = cursor;
  if (metaKey || altKey || (ctrlKey && key !== "Home" && key !== "End")) return null;
  const far = (shiftKey ? 10 : 1) * step;
  switch (key) {
    case "ArrowUp":
      return { walk: [row - far, column] };
    case "ArrowDown":
      return { walk: [row + far, column] };
    case "ArrowLeft":
      return { walk: [row, column - far] };
    case "ArrowRight":
      return { walk: [row, column + far] };
    case "PageUp":
      return { walk: [row - page, column] };
    case "PageDown":
      return { walk: [row + page, column] };
    case "Home":
      return { walk: [ctrlKey ? 0 : row, 0] };
    case "End":
      return { walk: [ctrlKey ? rows - 1 : row, columns - 1] };
    case "+":
    case "=":
      return { zoom: ZOOM };
    case "-":
    case "−":
      return { zoom: 1 / ZOOM };
    case "0":
      return { zoom: 0 };
    case " ":
      return "pin";
    case "Enter":
      return "enter";
    default:
      return null;
  }
}
