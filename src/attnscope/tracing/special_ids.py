"""The special ids of a configuration beside those of a tokenizer."""

from typing import Any

# What begins a text, ends it, and pads it: names in a configuration and in a tokenizer.
ROLES = {"begin": ("bos", "cls"), "end": ("eos", "sep"), "pad": ("pad",)}


def compare_roles(config: Any, tokenizer: Any, rows: int) -> dict[str, str]:
    """For each role that both give to a token of the model's `rows`: "fits", "unlike", or "weak": unlike, but the model's id
    is some special token here, as where a chat has an end of its own."""
    own = {role: special_ids(tokenizer, names) for role, names in ROLES.items()}
    theirs = {role: {i for i in special_ids(config, names) if i < rows} for role, names in ROLES.items()}
    found: dict[str, str] = {}
    for role, ids in theirs.items():
        others = set().union(*(x[other] for x in (own, theirs) for other in ROLES if other != role))
        if not ids or not own[role] or (role == "pad" and (ids | own["pad"]) & others):
            continue  # a pad token that has another role besides is a choice of the user
        if ids & own[role]:
            found[role] = "fits"
        elif not _left_as_it_was(config, ROLES[role]):
            exchanged = {"begin": "end", "end": "begin"}.get(role, "pad")
            special = {*getattr(tokenizer, "all_special_ids", ()), *getattr(tokenizer, "added_tokens_decoder", {})}
            taken = ids <= own[exchanged] - own[role]
            found[role] = "weak" if ids & special and not taken else "unlike"
    return found


def special_ids(owner: Any, names: tuple[str, ...]) -> set[int]:
    found: set[int] = set()
    for name in names:
        value = getattr(owner, f"{name}_token_id", None)
        if isinstance(value, (list, tuple)):
            found.update(i for i in value if isinstance(i, int) and i >= 0)
        elif isinstance(value, int) and value >= 0:
            found.add(value)
    return found


def _left_as_it_was(config: Any, names: tuple[str, ...]) -> bool:
    """Whether a configuration with a vocabulary of its own keeps the special ids of its class: nobody has set them."""
    try:
        plain = type(config)()
    except Exception:  # a configuration may need arguments
        return False
    own = getattr(plain, "vocab_size", None) != getattr(config, "vocab_size", None)
    return own and special_ids(plain, names) == special_ids(config, names)
