/** The keys of the frame: Enter, Escape and ?. A level takes all others, and these where it prevents their default. */

export interface Keys {
  enter(): void;
  escape(): void;
  help(): void;
}

/** `alone`: the page is this view alone, so that keys pressed outside of it are meant for it. Returns how to stop. */
export function listenToKeys(scope: HTMLElement, alone: boolean, keys: Keys): () => void {
  const onKey = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0] as Element;
    const writes = target.matches?.("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") keys.escape();
    else if (event.key === "?" && !writes) keys.help();
    else if (event.key === "Enter" && !writes && !target.closest?.("button, a, input, [data-panel]")) keys.enter();
    else return;
    event.preventDefault();
  };
  const fromBody = (event: KeyboardEvent) => {
    if (event.target === document.body) onKey(event);
  };
  scope.addEventListener("keydown", onKey);
  if (alone) addEventListener("keydown", fromBody);
  return () => removeEventListener("keydown", fromBody);
}
