/** A page: finds its data and its state in the document, and writes the state into the URL. */

import { mount } from "../app/mount";
import { mountPair } from "../app/pair-app";
import { fail } from "../app/shadow";
import { follow, isWhole, write } from "../app/url/address";
import { fromHash, INITIAL, parse, type State, toHash } from "../base/state";
import { PairSource } from "../chain/pair-source";
import { Payload } from "../data/payload";
import { type Block, type Coming, EmbeddedSource, parts } from "../data/sources/embedded";
import { unpack } from "../data/unpack";

/** What belongs to a root. Blocks of the second trace of a comparison, and what lays it beside the first, say so. */
interface Found {
  root: HTMLElement;
  state: HTMLElement | null;
  blocks: Block[];
  others: Block[];
  difference: Block[];
}

/** Each root is followed by its own state and blocks. */
function find(): Found[] {
  const found: Found[] = [];
  for (const element of document.querySelectorAll<HTMLElement>(
    "[data-attnscope], [data-attnscope-state], [data-attnscope-block]",
  )) {
    if (element.hasAttribute("data-attnscope"))
      found.push({ root: element, state: null, blocks: [], others: [], difference: [] });
    const last = found.at(-1);
    if (!last) continue;
    if (element.hasAttribute("data-attnscope-state")) last.state = element;
    if (element.hasAttribute("data-attnscope-block")) {
      const { sites, pictures, stride, attnscopeSide: side } = element.dataset;
      (side === "b" ? last.others : side === "difference" ? last.difference : last.blocks).push({
        text: () => element.textContent ?? "",
        stride: Number(stride ?? 1),
        sites: sites === undefined ? null : parts(sites),
        pictures: parts(pictures ?? ""),
      });
    }
  }
  return found;
}

const whole = new Promise<void>((resolve) => {
  if (document.readyState !== "loading") resolve();
  else addEventListener("DOMContentLoaded", () => resolve(), { once: true });
});

/** What the document holds of a root below this script, of one side: a root says which sites that is. */
function coming({ root, blocks, others }: Found, side: "blocks" | "others"): Coming {
  const known = (side === "blocks" ? blocks : others).length;
  const { sites, sitesB, pictures, picturesB } = root.dataset;
  const [held, shown] = side === "blocks" ? [sites, pictures] : [sitesB, picturesB];
  return {
    sites: parts(held ?? ""),
    pictures: parts(shown ?? ""),
    blocks: whole.then(
      () =>
        find()
          .find((one) => one.root === root)
          ?.[side].slice(known) ?? [],
    ),
  };
}

async function open(found: Found, ownsHash: boolean): Promise<void> {
  const { root, state, blocks, others, difference } = found;
  root.replaceChildren(); // what the page says where this script does not run
  try {
    const source = await EmbeddedSource.open(blocks, coming(found, "blocks"));
    const problems = [...source.problems];
    let pair: PairSource | null = null;
    if (difference.length) {
      const [block] = difference;
      const other = await EmbeddedSource.open(others, coming(found, "others"));
      problems.push(...other.problems);
      pair = new PairSource(new Payload(await unpack(block.text()), block.stride), source, other);
    }
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
      // a whole address says everything; what this page was made with stays for what cannot be read
      if (isWhole(read.state)) initial = { ...INITIAL, why: initial.why };
      take(read);
      // a link to a place without a key follows the strongest key there, not the one this page was made with
      if (!("key" in read.state) && ["layer", "head", "query"].some((name) => name in read.state)) initial.key = null;
    }
    // a reader's link chooses the place: the reason for the automatic choice no longer holds
    if (embedded.why && (["layer", "head", "query"] as const).some((name) => initial[name] !== embedded[name]))
      initial.why = null;
    const alone = ownsHash && document.querySelectorAll("[data-attnscope]").length === 1;
    const options = { fit: "page", problems, base: embedded, alone } as const;
    const view = await (pair ? mountPair(root, pair, initial, options) : mount(root, source, initial, options));
    if (!ownsHash) return;
    // an address that asked for what is not there says what is shown instead
    if (asked) write(toHash(view.get()), "set");
    follow(view, asked ? { ...INITIAL, ...embedded } : view.get(), INITIAL);
  } catch (error) {
    fail(root, error);
  }
}

// What stands above this script is drawn while the browser reads on.
const above = find();
above.forEach((found, i) => void open(found, i === 0));
void whole.then(() => {
  for (const found of find().slice(above.length)) void open(found, false);
});
