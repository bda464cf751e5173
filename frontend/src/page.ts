/** A page: finds its data and its state in the document, and writes the state into the URL. */
import { fail, mount } from "./app/mount";
import { type Block, EmbeddedSource } from "./sources/embedded";
import { fromHash, parse, type State, toHash } from "./state";

interface Found {
  root: HTMLElement;
  state: HTMLElement | null;
  blocks: Block[];
}

/** Each root is followed by its own state and blocks. */
function find(): Found[] {
  const found: Found[] = [];
  for (const element of document.querySelectorAll<HTMLElement>(
    "[data-attnscope], [data-attnscope-state], [data-attnscope-block]",
  )) {
    if (element.hasAttribute("data-attnscope")) found.push({ root: element, state: null, blocks: [] });
    const last = found.at(-1);
    if (!last) continue;
    if (element.hasAttribute("data-attnscope-state")) last.state = element;
    if (element.hasAttribute("data-attnscope-block")) {
      const sites = element.dataset.sites;
      last.blocks.push({
        text: () => element.textContent ?? "",
        stride: Number(element.dataset.stride ?? 1),
        sites:
          sites === undefined
            ? null
            : sites
                .split(/[\s,]+/)
                .filter(Boolean)
                .map(Number),
      });
    }
  }
  return found;
}

async function open({ root, state, blocks }: Found, ownsHash: boolean): Promise<void> {
  try {
    const source = await EmbeddedSource.open(blocks);
    const problems: string[] = [];
    let initial: Partial<State> = {};
    const take = (read: { state: Partial<State>; problems: string[] }) => {
      initial = { ...initial, ...read.state };
      problems.push(...read.problems);
    };
    if (state) {
      try {
        take(parse(Object.entries(JSON.parse(state.textContent ?? "{}"))));
      } catch {
        problems.push("The state written in this page cannot be read; the view opens at its start.");
      }
    }
    const embedded = initial;
    let asked = false;
    if (ownsHash && location.hash.length > 1) {
      const read = fromHash(location.hash);
      asked = Object.keys(read.state).length > 0 || read.problems.length > 0;
      take(read);
      // a link to a place without a key follows the strongest key there, not the one this page was made with
      if (!("key" in read.state) && ["layer", "head", "query"].some((name) => name in read.state)) initial.key = null;
    }
    // a reader's link chooses the place: the reason for the automatic choice no longer holds
    if (embedded.why && (["layer", "head", "query"] as const).some((name) => initial[name] !== embedded[name]))
      initial.why = null;
    const view = await mount(root, source, initial, { fit: "page", problems, base: embedded });
    if (!ownsHash) return;
    // an address that asked for what is not there says what is shown instead
    if (asked) writeHash(toHash(view.get()));
    // browsers refuse a few hundred changes of the address within seconds, and a held arrow key makes that many
    let timer: ReturnType<typeof setTimeout> | undefined;
    let credit = 20;
    let last = performance.now();
    view.onState(() => {
      clearTimeout(timer);
      const now = performance.now();
      credit = Math.min(20, credit + (now - last) / 70);
      last = now;
      if (credit >= 1) {
        credit--;
        writeHash(toHash(view.get()));
      } else timer = setTimeout(() => writeHash(toHash(view.get())), 250);
    });
    addEventListener("hashchange", () => {
      clearTimeout(timer);
      if (location.hash === toHash(view.get())) return;
      const read = fromHash(location.hash);
      view.set(read.state, read.problems);
    });
  } catch (error) {
    fail(root, error);
  }
}

/** In a srcdoc frame the history cannot be written, the hash can. */
function writeHash(hash: string): void {
  if (location.hash === hash) return;
  try {
    history.replaceState(history.state, "", hash);
  } catch {
    try {
      location.hash = hash;
    } catch {
      // a view without an address is still a view
    }
  }
}

function start(): void {
  find().forEach((found, i) => {
    void open(found, i === 0);
  });
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
