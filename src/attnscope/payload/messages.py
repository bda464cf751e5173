"""The messages between a live page and its source of data, named once (docs/payload.md describes them).

Every request ends in a reply, an error or a cancel.
"""

SITE = "site"  # {"id", "kind": "site", "site": index, "head": head}: asks for a payload that holds that site
STEPS = "steps"  # {"id", "kind": "steps", "site": index, "head": head}: asks for x and the projections of that head
CANCEL = "cancel"  # {"id", "kind": "cancel"}: the answer is no longer needed
REPLY = "reply"  # {"id", "kind": "reply"} with one buffer: the payload
ERROR = "error"  # {"id", "kind": "error", "message"}: what was wrong
