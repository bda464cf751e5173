"""The messages between a live page and its source of data, named once (docs/payload.md describes them).

Every request ends in a reply, an error or a cancel.
"""

SITE = "site"  # {"id", "kind": "site", "site": index, "head": head}: asks for a payload that holds that site
STEPS = "steps"  # {"id", "kind": "steps", "site": index, "head": head}: asks for x and the projections of that head
EDITS = "edits"  # {"id", "kind": "edits", "edits", "target", "against", "first"}: asks for predictions before and after, or for the band
TILES = "tiles"  # {"id", "kind": "tiles", "site", "head", "reduce", "coarse", "tiles": [[zoom, row, col], …]}: parts of its picture
CANCEL = "cancel"  # {"id", "kind": "cancel"}: the answer is no longer needed
REPLY = "reply"  # {"id", "kind": "reply"} with one buffer: the payload; of edits without one, {…, "answer"}
ERROR = "error"  # {"id", "kind": "error", "message"}: what was wrong
PROGRESS = (
    "progress"  # {"id", "kind": "progress", "part": 0 … 1}: the answer is being made, and will end in one of the others
)
