/** The state in the page's address. Places one goes to become steps of the browser's history; all else rewrites the last. */
import { fromHash, type State, toHash } from "../../base/state";
import type { Step, View } from "../view";

const ALWAYS = ["layer", "head", "query"] as const;

/** A whole address says everything: what does not stand in it is as it is at first. One made by hand changes what it names. */
export function isWhole(read: Partial<State>): boolean {
  return ALWAYS.every((name) => read[name] !== undefined);
}

/** In a srcdoc frame the history cannot be written, the hash can. */
export function write(hash: string, step: Step): void {
  if (location.hash === hash) return;
  try {
    if (step === "go") history.pushState(null, "", hash);
    else history.replaceState(history.state, "", hash);
  } catch {
    try {
      location.hash = hash;
    } catch {
      // a view without an address is still a view
    }
  }
}

/** Keeps address and view together. `home`: what the page shows where its address says nothing. */
export function follow(view: View, home: State, initial: State): void {
  // browsers refuse a few hundred changes of the address within seconds, and a held arrow key makes that many
  let timer: ReturnType<typeof setTimeout> | undefined;
  let waiting: { hash: string; step: Step } | null = null;
  let credit = 20;
  let last = performance.now();
  const flush = () => {
    clearTimeout(timer);
    if (waiting) write(waiting.hash, waiting.step);
    waiting = null;
  };
  view.onState((state, step) => {
    const now = performance.now();
    credit = Math.min(20, credit + (now - last) / 70);
    last = now;
    // the place one leaves is in the history as it was left
    if (step === "go" && credit >= 1) flush();
    waiting = { hash: toHash(state), step: waiting?.step === "go" ? "go" : step };
    clearTimeout(timer);
    if (credit >= 1) {
      credit--;
      flush();
    } else timer = setTimeout(flush, 250);
  });
  addEventListener("hashchange", () => {
    clearTimeout(timer);
    waiting = null;
    if (location.hash === toHash(view.get())) return;
    const { state, problems } = fromHash(location.hash);
    if (location.hash.length < 2) view.set({ ...home, why: null });
    else view.set(isWhole(state) ? { ...initial, ...state } : state, problems);
  });
}
