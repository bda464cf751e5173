"""Whose turn is a token of a chat? Read from the markers that chat templates write around a message."""

import re
from collections.abc import Sequence

ROLES = frozenset(
    "system developer user human assistant model bot ai tool tool_response function ipython observation".split()
)
# Markers after which the role stands as text: <|im_start|>, <|start_header_id|>, <start_of_turn>, <|turn>.
_OPENS = re.compile(
    r"im_start|header|start_of_turn|turn_start|turn>|start_of_role|role_start|<\|start\|>", re.IGNORECASE
)
_CLOSES = re.compile(r"end", re.IGNORECASE)
_ITSELF = re.compile(r"<\|?(\w+)\|?>")  # <|user|>
_SIDES = {"[INST]": "user", "[/INST]": "assistant"}
_LONGEST = 4  # tokens that a role is written in


def turns_of(shown: Sequence[str], special: Sequence[bool]) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """The turn of each token, from 0 (None before the first), and the role of each turn; both empty where there is no chat.

    A turn begins with its marker. `shown`: the tokens as people read them. `special`: which of them are markers.
    """
    roles: list[str] = []
    turns: list[int | None] = []
    for i in range(len(shown)):
        if special[i] and (role := _role(shown, special, i)):
            roles.append(role)
        turns.append(len(roles) - 1 if roles else None)
    return (tuple(turns), tuple(roles)) if roles else ((), ())


def _role(shown: Sequence[str], special: Sequence[bool], at: int) -> str:
    """The role of the turn that begins with this marker; "" where none does."""
    marker = shown[at]
    if marker in _SIDES:
        return _SIDES[marker]
    if (itself := _ITSELF.fullmatch(marker)) and itself[1].lower() in ROLES:
        return itself[1].lower()
    if not _OPENS.search(marker) or _CLOSES.search(marker):
        return ""
    text = ""
    for i in range(at + 1, min(at + 1 + _LONGEST, len(shown))):
        if special[i]:
            break
        text += shown[i]
        if "↵" in text:
            break
    role = text.split("↵")[0].strip().lower()
    return role if role in ROLES else ""
