// @vitest-environment happy-dom
import { beforeAll, expect, it } from "vitest";
import { headsOf } from "../../src/levels/model/heads";
import { lookOf } from "../../src/levels/model/paint";
import { Panel } from "../../src/levels/model/panel";
import { Statistics } from "../../src/levels/model/statistics";
import { labels } from "../../src/scene/labels";
import { press, sceneAt, source, stage } from "./stage";

beforeAll(stage);

it("has one tab stop for all names of statistics, which the arrow keys walk", () => {
  const of = source();
  const heads = headsOf(of);
  const names = ["previous", "next", "itself"];
  const meta = { ...of.meta, stat_words: Object.fromEntries(names.map((name) => [name, `about ${name}`])) };
  for (const { site } of heads)
    site.stats = Object.fromEntries(names.map((name) => [name, new Array(site.heads).fill(0.25)]));
  const panel = new Panel(new Statistics(meta, heads), meta.tokens.map(labels), () => {});
  document.body.append(panel.element);
  const look = lookOf(sceneAt(of).ramp, 1, "#123456", "#999999");
  const show = (head: number) => panel.show(heads[head], "layer", null, look, false, 1);
  show(0);
  const terms = () => [...panel.element.querySelectorAll<HTMLElement>("dt")];
  const stops = () => terms().map(({ tabIndex }) => tabIndex);
  expect(stops()).toEqual([0, -1, -1]);
  terms()[0].focus();
  for (const [key, stop] of [
    ["ArrowDown", 1],
    ["End", 2],
    ["ArrowDown", 2],
    ["Home", 0],
    ["ArrowUp", 0],
    ["ArrowDown", 1],
  ] as const) {
    press(document.activeElement as Element, key);
    expect(document.activeElement).toBe(terms()[stop]);
    expect(stops().indexOf(0)).toBe(stop);
  }
  show(1);
  expect(stops(), "of another head too").toEqual([-1, 0, -1]);
});
