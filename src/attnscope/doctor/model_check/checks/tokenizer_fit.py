"""Does this tokenizer belong to this model? Its size and its special ids are held against the model's."""

from typing import Any

from attnscope.doctor.model_check.case import Case

# What begins a text, ends it, and pads it: names in a configuration and in a tokenizer.
_ROLES = {"begin": ("bos", "cls"), "end": ("eos", "sep"), "pad": ("pad",)}


def examine(case: Case) -> None:
    """One sign is chance; the finding needs a vocabulary that is larger than the table, or two signs and no role that fits."""
    table = case.embedding()
    if table is None or case.tokenizer is None:
        return
    rows = table.weight.shape[0]
    base = getattr(case.tokenizer, "vocab_size", None)
    if isinstance(base, int) and base > rows:
        evidence = (
            f"the tokenizer has {base} entries, without those that were added, and the model's embedding {rows} rows"
        )
        case.report("tokenizer-of-another-model", evidence=evidence)
        return
    roles = compare_roles(case.config, case.tokenizer, rows)
    unlike, weak = ([role for role, how in roles.items() if how == kind] for kind in ("unlike", "weak"))
    if "fits" in roles.values() or not (unlike or weak):
        return
    signs = [_words(case, role) for role in unlike]
    entries = len(case.tokenizer) if hasattr(case.tokenizer, "__len__") else rows
    if 2 * entries < rows:
        signs += [
            *(_words(case, role) for role in weak),
            f"the tokenizer has {entries} entries, and the model's embedding {rows} rows",
        ]
    origins = [
        str(x) for x in (getattr(case.config, "_name_or_path", ""), getattr(case.tokenizer, "name_or_path", "")) if x
    ]
    if unlike and len(set(origins)) == 2:
        signs.append(f"the model was loaded from {origins[0]}, the tokenizer from {origins[1]}")
    if len(signs) > 1:
        case.report("tokenizer-of-another-model", evidence="; ".join(signs))


def compare_roles(config: Any, tokenizer: Any, rows: int) -> dict[str, str]:
    """For each role that both give to a token of the model's `rows`: "fits", "unlike", or "weak": unlike, but the model's id
    is some special token here, as where a chat has an end of its own."""
    own = {role: _ids(tokenizer, names) for role, names in _ROLES.items()}
    theirs = {role: {i for i in _ids(config, names) if i < rows} for role, names in _ROLES.items()}
    special = {*getattr(tokenizer, "all_special_ids", ()), *getattr(tokenizer, "added_tokens_decoder", {})}
    found: dict[str, str] = {}
    for role, ids in theirs.items():
        others = set().union(*(x[other] for x in (own, theirs) for other in _ROLES if other != role))
        if not ids or not own[role] or (role == "pad" and (ids | own["pad"]) & others):
            continue  # a pad token that has another role besides is a choice of the user
        if ids & own[role]:
            found[role] = "fits"
        elif not _left_as_it_was(config, _ROLES[role]):
            exchanged = {"begin": "end", "end": "begin"}.get(role, "pad")
            taken = ids <= own[exchanged] - own[role]
            found[role] = "weak" if ids & special and not taken else "unlike"
    return found


def _words(case: Case, role: str) -> str:
    theirs, own = (sorted(_ids(owner, _ROLES[role])) for owner in (case.config, case.tokenizer))
    ids = " or ".join(map(str, theirs[:3]))
    return (
        f"the model's {role} token is id {ids}, the tokenizer's {' or '.join(map(str, own[:3]))} ({case.strings(own)})"
    )


def _ids(owner: Any, names: tuple[str, ...]) -> set[int]:
    values = [getattr(owner, f"{name}_token_id", None) for name in names]
    flat = [i for value in values for i in (value if isinstance(value, (list, tuple)) else [value])]
    return {i for i in flat if isinstance(i, int) and i >= 0}


def _left_as_it_was(config: Any, names: tuple[str, ...]) -> bool:
    """Whether a configuration with a vocabulary of its own keeps the special ids of its class: nobody has set them."""
    try:
        plain = type(config)()
    except Exception:  # a configuration may need arguments
        return False
    own = getattr(plain, "vocab_size", None) != getattr(config, "vocab_size", None)
    return own and _ids(plain, names) == _ids(config, names)
