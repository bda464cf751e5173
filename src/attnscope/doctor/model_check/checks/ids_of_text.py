"""Ready ids beside the text that they were made from: all of it, a part of it, or another text?"""

import difflib
from collections.abc import Sequence

from attnscope.doctor.model_check.case import Case


def examine(case: Case, limit: int | None) -> None:
    """`limit`: the length at which the tokenizer cuts, or None."""
    assert case.ids is not None
    if not case.texts:
        if limit is not None and any(len(case.visible_ids(row)) == limit for row in range(len(case.ids))):
            case.notes.append(
                f"A row is exactly tokenizer.model_max_length = {limit} tokens long, as if it had been cut. "
                "Pass the text too to have them compared."
            )
        return
    masked = getattr(case.tokenizer, "mask_token_id", None)
    texts = [_words(case, text if case.pair is None else f"{text} {case.pair}") for text in case.texts]
    for row, whole in enumerate(texts):
        seen = _without_special(case, case.visible_ids(row))
        if masked in case.visible_ids(row) and masked not in case.encode(case.texts[row]):
            case.notes.append(
                f"Row {row} has {case.strings([masked])} in place of words, so it was not held against its text."
            )
            continue
        if _inside(whole, seen) or _letters(case, whole) in _letters(case, seen):
            continue  # the text, alone or framed by a template, however it was split
        if not _shift(case, row) and _is_part(seen, whole):
            _report_cut(case, seen, whole, row, limit)
        else:
            _report_other(case, seen, texts, row)
        return


def _words(case: Case, text: str) -> list[int]:
    return _without_special(case, case.encode(text, special=False))


def _without_special(case: Case, ids: Sequence[int]) -> list[int]:
    special = set(getattr(case.tokenizer, "all_special_ids", ()))
    return [i for i in ids if i not in special]


def _inside(part: Sequence[int], whole: Sequence[int]) -> bool:
    return any(list(whole[start : start + len(part)]) == list(part) for start in range(len(whole) - len(part) + 1))


def _is_part(seen: Sequence[int], whole: Sequence[int]) -> bool:
    """Whether `seen` is `whole` with something left out; or a text within a template, both cut."""
    rest = iter(whole)
    if all(i in rest for i in seen):
        return True
    if sorted(seen) == sorted(whole):
        return False
    match = difflib.SequenceMatcher(None, seen, whole, autojunk=False).find_longest_match()
    return 2 * match.size >= len(whole)


def _shift(case: Case, row: int) -> int:
    """What all ids of words lie above those that the text gives; 0 where they do not lie above it by one number."""
    assert case.ids is not None
    if case.pair is not None:
        return 0
    seen, whole = case.visible_ids(row), case.encode(case.texts[row])
    special = set(getattr(case.tokenizer, "all_special_ids", ()))
    apart = {a - b for a, b in zip(seen, whole, strict=False) if b not in special}
    return apart.pop() if len(seen) == len(whole) and len(apart) == 1 else 0


def _letters(case: Case, ids: Sequence[int]) -> str:
    """Letters and digits of the ids, decoded: what is left of a text when spaces, case and signs do not count."""
    if not hasattr(case.tokenizer, "decode"):
        return " ".join(map(str, ids))
    size = len(case.tokenizer) if hasattr(case.tokenizer, "__len__") else None
    text = case.tokenizer.decode([i for i in ids if i >= 0 and (size is None or i < size)])
    return "".join(letter for letter in text.casefold() if letter.isalnum()) or text


def _report_cut(case: Case, seen: list[int], whole: list[int], row: int, limit: int | None) -> None:
    match = difflib.SequenceMatcher(None, whole, seen, autojunk=False)
    lost = [i for tag, a, b, _, _ in match.get_opcodes() if tag in ("delete", "replace") for i in whole[a:b]]
    evidence = f"row {row} lacks {len(lost)} tokens: {case.strings(lost, 6)}"
    if limit:
        evidence += f"; tokenizer.model_max_length = {limit}"
    case.report("text-cut", seen=len(whole) - len(lost), whole=len(whole), evidence=evidence)


def _report_other(case: Case, seen: list[int], texts: list[list[int]], row: int) -> None:
    whole = texts[row]
    other = next((place for place, text in enumerate(texts) if text == seen), None)
    first = next((t for t, (a, b) in enumerate(zip(seen, whole, strict=False)) if a != b), min(len(seen), len(whole)))
    evidence = (
        f"row {row} reads {case.strings(seen[first:], 5) or 'nothing'} (ids {seen[first : first + 4]}) where its text gives "
        f"{case.strings(whole[first:], 5) or 'nothing'} (ids {whole[first : first + 4]})"
    )
    if other is not None:
        evidence += f"; it is text {other}"
    elif shift := _shift(case, row):
        evidence += f"; every id is {abs(shift)} too {'large' if shift > 0 else 'small'}"
    case.report("ids-of-another-text", row=row, evidence=evidence)
