"""The rules beside the relations of a treebank: places, special tokens, copies, and what stood after a copy."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from attnscope.head_roles.cases import CaseList, Cases, Task
from attnscope.head_roles.texts import Text
from attnscope.models.length import embedding_of

_FROM_QUERY = "query to key"
PLACES = {
    -2: Task("two tokens back", _FROM_QUERY, "token", "looks two tokens back", True, False, 0.9, "Voita et al. 2019"),
    -1: Task(
        "previous token", _FROM_QUERY, "token", "looks at the previous token", True, False, 0.9, "Voita et al. 2019"
    ),
    0: Task("itself", _FROM_QUERY, "token", "looks at the token itself", True, False, 0.9, "Voita et al. 2019"),
    1: Task("next token", _FROM_QUERY, "token", "looks at the next token", True, False, 0.9, "Voita et al. 2019"),
}
SINK = Task("first token", _FROM_QUERY, "token", "rests on the first token", True, True, 0.3, "sink in Gu et al. 2024")
SPECIAL = Task(
    "special tokens",
    _FROM_QUERY,
    "token",
    "rests on special tokens",
    True,
    True,
    0.5,
    "delimiters in Clark et al. 2019",
)
COPY = Task(
    "earlier copy",
    _FROM_QUERY,
    "probe",
    "looks at an earlier copy of the token",
    False,
    False,
    0.5,
    "duplicate-token heads",
)
INDUCTION = Task(
    "after an earlier copy", _FROM_QUERY, "probe", "looks at what followed an earlier copy of the token", False, False, 0.5,
    "induction in Olsson et al. 2022",
)  # fmt: skip
RULES = {task.relation: task for task in (*PLACES.values(), SINK, SPECIAL, COPY, INDUCTION)}
LENGTHS = (17, 19, 23, 29, 31, 37, 41, 43, 47, 53) * 4  # of the repeated part of a probe: no fixed offset fits all


def token_cases(texts: Sequence[Text], starts: "np.ndarray") -> dict[Task, Cases]:
    """The cases of the rules about places and special tokens. Queries are tokens that are not special."""
    found: dict[Task, CaseList] = defaultdict(CaseList)
    for number, (text, start) in enumerate(zip(texts, starts.tolist(), strict=False)):
        special = [start + place for place, marker in enumerate(text.special) if marker]
        for place, marker in enumerate(text.special):
            if marker:
                continue
            for offset, task in PLACES.items():
                if 0 <= place + offset < len(text):
                    found[task].add(number, start + place, [start + place + offset])
            if place:
                found[SINK].add(number, start + place, [start])
            if special:
                found[SPECIAL].add(number, start + place, special)
    return {task: collected.cases() for task, collected in found.items()}


def probe_cases(texts: Sequence[Text], starts: "np.ndarray") -> dict[Task, Cases]:
    """The cases of copies and of what followed them: of every token that stood earlier in its text."""
    found: dict[Task, CaseList] = {COPY: CaseList(), INDUCTION: CaseList()}
    for number, (text, start) in enumerate(zip(texts, starts.tolist(), strict=False)):
        places: dict[int, list[int]] = defaultdict(list)
        for place, (token, marker) in enumerate(zip(text.ids, text.special, strict=True)):
            if not marker and (earlier := places[token]):
                found[COPY].add(number, start + place, [start + p for p in earlier])
                found[INDUCTION].add(number, start + place, [start + p + 1 for p in earlier])
            places[token].append(place)
    return {task: collected.cases() for task, collected in found.items()}


def probes(model: nn.Module, special: Sequence[int], first: int | None, limit: int | None) -> list[Text]:
    """Random tokens, each text twice in a row: nothing but copying can say what comes next. `special`: ids that are left
    out; `first`: the id that texts of this model begin with, None where there is none."""
    rows = getattr(embedding_of(model), "num_embeddings", 0)
    usual = torch.tensor(sorted(set(range(rows)) - set(special)))
    return [text for text in _drawn(usual, first) if limit is None or len(text) <= limit] if len(usual) > 100 else []


def _drawn(usual: torch.Tensor, first: int | None) -> Iterator[Text]:
    for seed, length in enumerate(LENGTHS):
        generator = torch.Generator().manual_seed(seed)
        drawn = usual[torch.randperm(len(usual), generator=generator)[:length]].tolist()
        start = [] if first is None else [first]
        ids = [*start, *drawn, *drawn]
        marks = (True,) * len(start) + (False,) * (2 * length)
        yield Text({"input_ids": ids, "attention_mask": [1] * len(ids)}, marks, f"probe {seed}")
