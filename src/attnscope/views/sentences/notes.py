"""What a picture leaves out or puts together, as a page and a figure say it under the picture.

`tools/generate.py` writes these into frontend/src/generated/words.json. `{…}` stands for a number or a token.
"""

NOTES = {
    "empty": "No key allowed: this query may see no key at all, and {rest}.",
    "empty_zero": "its weights are zero",
    "empty_uniform": "this implementation spreads its weight evenly",
    "hidden_token": "{part} of {whose} goes to {token}",
    "hidden": "{tokens}, hidden here.",
    "hidden_little": "The tokens that are hidden here have {part} of {whose}.",
    "outside": "{part} of {whose} lies outside the filter.",
    "sink": "{part} goes to the sink, a learned logit without a token.",
    "average": "Mean over {heads}.",
    "writes": "‖write‖ = {length}: the length of what this head writes for this query, of which shares are parts.",
    "words": "Pieces of a word are drawn as one: weights are summed into it as keys and averaged out of it as queries.",
    "pooled": "Groups are drawn as one: weights are summed into it as keys and averaged out of it as queries.",
    "group": "“{name}” has {part} of its weight and {share} of its output, {ratio} × what an even spread would give.",
    "offset": "Queries begin at token {token}: those before are keys only.",
}


def note(name_: str, /, **filled: object) -> str:
    """The note of this name, filled in."""
    return NOTES[name_].format(**filled)
