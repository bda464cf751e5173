"""Does this tokenizer belong to this model? Its size and its special ids are held against the model's."""

from attnscope.doctor.model_check.case import Case
from attnscope.tracing.special_ids import ROLES, compare_roles, special_ids


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


def _words(case: Case, role: str) -> str:
    theirs, own = (sorted(special_ids(owner, ROLES[role])) for owner in (case.config, case.tokenizer))
    ids = " or ".join(map(str, theirs[:3]))
    return (
        f"the model's {role} token is id {ids}, the tokenizer's {' or '.join(map(str, own[:3]))} ({case.strings(own)})"
    )
