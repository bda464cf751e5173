/** Text, model and pair in the address, before the # of the place: `?model=demo&text=…&pair=…`. */
import type { Question } from "../../data/sources/http";

export interface Asked extends Question {
  problems: string[];
}

/** Servers and proxies refuse addresses that are much longer. */
const LONGEST = 6000;

/** The token has been exchanged for a cookie: it is not for bookmarks, histories and copied links. */
export function withoutToken(): void {
  const address = new URL(location.href);
  if (!address.searchParams.has("token")) return;
  address.searchParams.delete("token");
  history.replaceState(history.state, "", address);
}

/** What the address asks for; what it leaves out is the first model, and the example. */
export function questionIn(search: string, settings: { models: string[]; example: string }): Asked {
  const given = new URLSearchParams(search);
  const problems: string[] = [];
  let model = given.get("model") ?? settings.models[0];
  if (!settings.models.includes(model)) {
    problems.push(`${model.slice(0, 100)} is not served here; this is ${settings.models[0]}.`);
    model = settings.models[0];
  }
  const text = given.get("text") || settings.example;
  return { model, text, pair: given.get("pair") ?? "", truncate: given.get("truncate") === "1", problems };
}

/** The address of a question, without the place; `whole`: the text is in it. */
export function addressOf({ model, text, pair, truncate }: Question): { search: string; whole: boolean } {
  const entries = [
    ["model", model],
    ["text", text],
  ];
  if (pair) entries.push(["pair", pair]);
  if (truncate) entries.push(["truncate", "1"]);
  const search = `?${new URLSearchParams(entries)}`;
  if (search.length <= LONGEST) return { search, whole: true };
  return { search: `?${new URLSearchParams({ model })}`, whole: false };
}
