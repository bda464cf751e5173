/** What the receipt says must fit what was found. */

import { describe, expect, it } from "vitest";
import { verdict } from "../src/app/parts/receipt";
import { INITIAL } from "../src/base/state";
import type { Recheck } from "../src/chain/chain";
import type { Site, SiteReceipt } from "../src/data/metadata";
import { meta, site } from "./made";

const OWN = "the model's own output has NaN or infinite values";
const clean: Recheck = { difference: 3e-7, rows: 3, broken: 0, parted: 0 };

function said(receipt: Partial<SiteReceipt>, mine?: Recheck | null, change: Partial<Site> = {}) {
  const one = site({ ...change, receipt: { ...site().receipt, ...receipt } });
  const all = { passed: true, max_error: 5e-6, tolerance: 1e-4, rows: 3, of: 3 };
  const { status, short, paragraphs } = verdict(
    { site: one, meta: meta([one], { receipt: all }), state: INITIAL },
    mine,
  );
  return { status, short, text: paragraphs.join("\n"), paragraphs };
}

describe("the receipt", () => {
  it("names Python's figure in the foot, then that, the browser's and all layers' in the panel", () => {
    const { status, short, paragraphs } = said({}, clean);
    expect(status).toBe("passed");
    expect(short).toMatch(/in this layer 1e-7$/);
    expect(paragraphs[0]).toContain("1e-7");
    expect(paragraphs[2]).toContain("3e-7");
    expect(paragraphs[3]).toMatch(/^All layers.*5e-6/);
  });

  it("flags the model's own NaN, and does not call it a mismatch", () => {
    const nan = { ...clean, broken: 4 };
    expect(said({ note: OWN }, nan)).toMatchObject({ status: "flagged", short: "the model itself gave NaN here" });
    expect(said({ status: "unverified", max_error: 0, note: OWN }, { ...nan, difference: 0 }).status).toBe("flagged");
    expect(said({ note: OWN }, nan).text).not.toContain("more than rounding");
  });

  it("fails where NaN stands in one of the two only, without a figure that looks like agreement", () => {
    expect(said({}, { ...clean, parted: 2 })).toMatchObject({ status: "failed" });
    const { status, text } = said({ status: "failed", max_error: 0, note: "NaN differ" }, undefined);
    expect(status).toBe("failed");
    expect(text).not.toContain("is 0 of the largest");
    expect(said({}, { ...clean, difference: Number.NaN }).text).not.toContain("NaN over");
  });

  it("says how the writes compare with the output projection, or that W_O is not claimed", () => {
    const known = { write_error: 2e-6, write_tolerance: 1e-4 };
    expect(said(known, clean, { norms: "output" }).text).toMatch(/z · W_O.*difference is 2e-6 of.*Up to 1e-4 is/);
    expect(said({}, clean, { norms: "output" }).text).toContain("what the heads write was not checked");
    expect(said({}, clean).text).toContain("W_O is not claimed");
    expect(said({}, clean, { no_projection: "several layers take it" }).text).toContain(
      "claimed: several layers take it.",
    );
    const changed = {
      ...known,
      status: "failed" as const,
      write_error: 0.3,
      note: "what the heads write does not add up",
    };
    const { status, text } = said(changed, undefined, { norms: "output" });
    expect(status).toBe("failed");
    expect(text).toContain("0.3 of the largest value");
    expect(text).not.toContain("NaN");
  });

  it("leaves what was not checked at that", () => {
    expect(said({ status: "unverified", rows: 0 }, null)).toMatchObject({ status: "none" });
  });
});
