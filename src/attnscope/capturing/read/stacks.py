"""Which stack and layer is a call of? Read from module paths and from what is self and what is cross attention."""

import re
from collections import Counter
from collections.abc import Sequence


def stack_names(
    calls: Sequence[tuple[str, bool]], encoder_decoder: bool, pooled: bool = False
) -> list[tuple[str | None, int]]:
    """(stack, layer) for every call, in order. A layer keeps the number that its path has, where that is unambiguous;
    a module that runs several times (ALBERT) is numbered by its turns. `pooled`: what goes across only sums up, at the
    end, what the others have read (Siglip's head)."""
    if not calls:
        return []
    if pooled:
        towers = iter(_stacks([call for call in calls if not call[1]], False))
        stacks = ["cross" if cross else next(towers) or "encoder" for _, cross in calls]
    else:
        stacks = _stacks(calls, encoder_decoder)
    numbered = [_layer_in_path(path) for path, _ in calls]
    layers: list[tuple[str | None, int]] = []
    for stack in stacks:
        mine = [number for number, other in zip(numbered, stacks, strict=True) if other == stack]
        turn = sum(1 for other, _ in layers if other == stack)
        clear = None not in mine and len(set(mine)) == len(mine)
        layers.append((stack, mine[turn] if clear else turn))  # type: ignore[arg-type]
    return layers


def _stacks(calls: Sequence[tuple[str, bool]], encoder_decoder: bool) -> list[str | None]:
    if encoder_decoder:
        return [
            "cross" if cross else ("decoder" if re.search(r"(^|\.)decoder(\.|$)", path) else "encoder")
            for path, cross in calls
        ]
    if any(cross for _, cross in calls):
        return ["cross" if cross else "decoder" for _, cross in calls]
    templates = [re.sub(r"\d+", "*", path) for path, _ in calls]
    if len(set(templates)) == 1:
        return [None] * len(calls)
    # Several towers (text and vision, say): name each by the first part of its path that tells it apart.
    parts = {template: template.split(".") for template in templates}
    for depth in range(max(map(len, parts.values()))):
        heads = {template: (part[depth] if depth < len(part) else "") for template, part in parts.items()}
        if len(set(heads.values())) > 1:
            count = Counter(heads.values())
            return [heads[t] if count[heads[t]] == 1 else t for t in templates]
    return list(templates)


def _layer_in_path(path: str) -> int | None:
    numbers = re.findall(r"(?:^|\.)(\d+)(?=\.|$)", path)
    return int(numbers[0]) if numbers else None
