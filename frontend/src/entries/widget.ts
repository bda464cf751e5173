/** A notebook: the anywidget entry. State lives in traits, missing layers come from the kernel. */
import { keepKeys } from "../app/keyboard";
import { mount } from "../app/mount";
import { mountPair } from "../app/pair-app";
import { fail } from "../app/shadow";
import type { Live, View } from "../app/view";
import { INITIAL, parse, type State } from "../base/state";
import { PairSource } from "../chain/pair-source";
import { Payload } from "../data/payload";
import { type Channel, CommSource, GONE, octetsOf, type Reply } from "../data/sources/comm";

/** What anywidget hands over. */
interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(message: unknown): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
  /** False once the comm is closed, where the host shows it. */
  readonly comm_live?: boolean;
}

const TRAITS = (Object.keys(INITIAL) as (keyof State)[]).filter((name) => name !== "why");
/** Traits hold lists, which are never the same object twice. */
const same = (a: unknown, b: unknown) => String(a ?? "") === String(b ?? "");

function channelOf(model: Model, link: { gone: boolean }): Channel {
  return {
    send: (message) => model.send(message),
    listen(listener) {
      const receive = (reply: Reply, buffers: ArrayBufferView[]) => {
        link.gone = false; // an answer shows that the kernel is there
        listener(reply, buffers);
      };
      model.on("msg:custom", receive as never);
      return () => model.off("msg:custom", receive as never);
    },
    alive: () => !link.gone,
  };
}

const read = (model: Model) => parse([...TRAITS, "why" as const].map((name) => [name, model.get(name)]));

async function render({ model, el }: { model: Model; el: HTMLElement }): Promise<() => void> {
  const root = document.createElement("div");
  root.setAttribute("data-attnscope", "");
  el.append(root);
  const giveBack = keepKeys(root);
  let view: View | null = null;
  let source: CommSource | null = null;
  let other: CommSource | null = null;
  const link = { gone: model.comm_live === false };
  let closed = false;
  let syncing = false;

  /** View to kernel: only what differs, in one message. */
  const publish = (state: State) => {
    if (syncing) return;
    let changed = false;
    syncing = true;
    for (const name of TRAITS) {
      if (same(model.get(name), state[name])) continue;
      model.set(name, state[name]);
      changed = true;
    }
    syncing = false;
    if (!changed) return;
    try {
      model.save_changes();
    } catch {
      // without a kernel the view goes on by itself
    }
  };

  /** Kernel to view. Several traits change one after another: wait for the last. */
  let scheduled = false;
  const receive = () => {
    if (syncing || scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      if (!view || closed) return;
      const { state, problems } = read(model);
      const now = view.get();
      if (!problems.length && TRAITS.every((name) => state[name] === undefined || same(state[name], now[name]))) return;
      view.set(state, problems);
    });
  };

  const open = async () => {
    view?.destroy();
    source?.destroy();
    other?.destroy();
    other = null;
    view = null;
    try {
      const blocks = (model.get("blocks") as ArrayBufferView[] | null) ?? [];
      source = new CommSource(blocks.map(octetsOf), channelOf(model, link));
      const { state, problems } = read(model);
      const difference = model.get("difference") as ArrayBufferView | null | undefined;
      const dock = model.get("editable") ? (globalThis as Live).attnscopeEdits : undefined;
      const options = { fit: "cell", problems, dock } as const;
      let mounted: View;
      if (difference?.byteLength) {
        const others = (model.get("other_blocks") as ArrayBufferView[] | null) ?? [];
        other = new CommSource(others.map(octetsOf), channelOf(model, link), undefined, "b");
        const pair = new PairSource(new Payload(octetsOf(difference)), source, other);
        mounted = await mountPair(root, pair, state, options);
      } else mounted = await mount(root, source, state, options);
      if (closed) return mounted.destroy();
      view = mounted;
      view.onState(publish);
      publish(view.get());
    } catch (error) {
      if (!closed) fail(root, error);
    }
  };

  /** The kernel died or was restarted: report it, and keep what is here. */
  const lost = () => {
    link.gone = true;
    source?.lose();
    other?.lose();
    view?.notice(GONE);
  };

  const reopen = () => void open();
  for (const name of TRAITS) model.on(`change:${name}`, receive as never);
  model.on("change:blocks", reopen as never);
  // Jupyter's widget manager tells both; the first, of coming and going alike, says nothing where the state is hidden
  const changed = () => model.comm_live === false && lost();
  model.on("comm_live_update", changed as never);
  model.on("comm:close", lost as never);
  await open();
  return () => {
    closed = true;
    giveBack();
    for (const name of TRAITS) model.off(`change:${name}`, receive as never);
    model.off("change:blocks", reopen as never);
    model.off("comm_live_update", changed as never);
    model.off("comm:close", lost as never);
    view?.destroy();
    source?.destroy();
    other?.destroy();
    root.remove();
  };
}

export default { render };
