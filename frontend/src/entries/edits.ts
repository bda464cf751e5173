/** What edits heads, beside the bundles of live views: pages, which have no model to ask, do not hold it. */

import type { Live } from "../app/view";
import { makeDock } from "./editing/dock";

(globalThis as Live).attnscopeEdits = makeDock;
