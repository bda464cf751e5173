/** The keys of the frame: Enter, Escape, /, ?, comma, full stop and the digits. A level takes all others, and these where it prevents their default. */

export interface Keys {
  enter(): void;
  escape(): void;
  find(): void;
  help(): void;
  /** To the token that was written before or after; false where none was. */
  written(by: 1 | -1): boolean;
  /** False where this key is not one of a level. */
  level(key: string): boolean;
}

const WRITES = "input:not([type=checkbox], [type=range]), textarea, select";

/** `alone`: the page is this view alone, so that keys pressed outside of it are meant for it. Returns how to stop. */
export function listenToKeys(scope: HTMLElement, alone: boolean, keys: Keys): () => void {
  const onKey = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0] as Element;
    const writes = target.matches?.(WRITES);
    const { key } = event;
    if (key === "Escape") keys.escape();
    else if (writes) return;
    else if (key === "?") keys.help();
    else if (key === "/") keys.find();
    else if (key === "Enter" && !event.shiftKey && !target.closest?.("button, a, input, [data-panel]")) keys.enter();
    else if (key === "," || key === ".") {
      if (!keys.written(key === "." ? 1 : -1)) return;
    } else if (!keys.level(key)) return;
    event.preventDefault();
  };
  const fromBody = (event: KeyboardEvent) => {
    if (event.target === document.body) onKey(event);
  };
  scope.addEventListener("keydown", onKey);
  if (alone) addEventListener("keydown", fromBody);
  return () => removeEventListener("keydown", fromBody);
}

/**
 * A notebook has keys of its own for a cell that is not written in: arrows leave the cell, letters change it. Those pressed
 * in the view are the view's. JupyterLab and Notebook 7 pass over what carries this mark; keys held with Ctrl, Alt or Meta
 * stay theirs (save, undo), and so does Shift+Enter (run the cell). Returns how to stop.
 */
export function keepKeys(root: HTMLElement): () => void {
  const MARK = "data-lm-suppress-shortcuts";
  const mark = (event: KeyboardEvent) => {
    if (!event.composedPath().includes(root)) return;
    const writes = (event.composedPath()[0] as Element).matches?.(WRITES);
    const held = event.ctrlKey || event.metaKey || event.altKey;
    const theirs = held || (event.shiftKey && event.key === "Enter" && !writes);
    root.toggleAttribute(MARK, !theirs);
  };
  addEventListener("keydown", mark, { capture: true });
  return () => removeEventListener("keydown", mark, { capture: true });
}
