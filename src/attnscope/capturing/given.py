"""The names that a caller gives, held against the ids that the pass received: names belong to what was recorded."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from attnscope.capturing.listen.reads import Reads
from attnscope.errors import InputError
from attnscope.tracing.segments import segments_of_types
from attnscope.tracing.tokens import Tokens, tokens_of


def given_names(tokenizer: Any, input_ids: Any, tokens: Any, index: int, types: Any = None) -> Tokens | None:
    """What the caller calls the positions, or None. `types`: the token_type_ids that the pass was given."""
    if tokens is not None:
        return tokens if isinstance(tokens, Tokens) else Tokens(tuple(map(str, tokens)))
    if input_ids is None:
        return None
    ids = torch.as_tensor(input_ids)
    if ids.ndim == 2 and not -len(ids) <= index < len(ids):
        raise InputError(
            f"input_ids have {len(ids)} rows, and you ask for row {index}: give the ids of the whole batch."
        )
    row = (ids[index] if ids.ndim == 2 else ids).tolist()
    return tokens_of(tokenizer, row, segments=_segments(types, torch.tensor(row), index, tokenizer))


def ids_read(reads: Reads, encoder_decoder: bool) -> Tensor | None:
    """The ids [B, T] of the text that a pass read; None where they are not known."""
    if "input_ids" in reads.given:
        return reads.given["input_ids"]
    alone = len(reads.tables) == 1 and not encoder_decoder and not reads.given
    return reads.tables[0][1] if alone else None


def names_of_read(
    named: Tokens | None, tokenizer: Any, read: Tensor | None, past: int | None, index: int, types: Any = None
) -> Tokens | None:
    """The names given, else those of the ids that were read, where a tokenizer spells them and no cache held others. `types`:
    the token_type_ids of the pass."""
    if named is None and tokenizer is not None and read is not None and past == 0 and index < len(read):
        return tokens_of(tokenizer, read[index].tolist(), segments=_segments(types, read[index], index, tokenizer))
    return named


def matched(
    named: Tokens | None,
    tokenizer: Any,
    read: Tensor | None,
    past: int | None,
    index: int,
    model: Any,
    last: bool = True,
    types: Any = None,
) -> tuple[Tokens | None, int, list[str]]:
    """The names of what row `index` of a pass read, the row that they are of, and what a reader must know.

    `read`: the ids of the pass, [B, T]; None: not known. `past`: tokens that a cache held before. `model`: says, with the
    tokenizer, what stands for padding.
    `types`: the token_type_ids of the pass. `last`: no pass followed that was recorded, so that the model has read all but the last id.

    Ids that go on beyond this pass, as those of a whole generation do, are cut to it. Ids of another row of the batch lead to that row. Raises InputError for
    ids that no row has read.
    """
    if named is None or not named.ids or read is None or past is None or index >= len(read):
        return named, index, []
    own, total = read[index].tolist(), past + read.shape[1]
    given = list(named.ids)
    if given[past:total] == own and (not last or len(given) <= total + 1):
        return (named if len(named) == total else named.select(range(total))), index, []
    if given[past:total] == own:
        return named, index, []  # too many, which is said where positions are counted
    if past == 0:
        pads = _pads(model, tokenizer)
        core = _without(given, pads)
        rows = [_without(row, pads) for row in read.tolist()]
        row = index if rows[index] == core else next((n for n, one in enumerate(rows) if one == core), None)
        if row is not None:
            notes = []
            if row != index:
                notes.append(
                    f"The ids of row {index} were read as row {row} of the batch: something put the texts in another order "
                    f"before they ran (sentence-transformers sorts them by length). Row {row} is shown."
                )
            same = read[row].tolist() == given
            segments = _segments(types, read[row], row, tokenizer)
            return (named if same else tokens_of(tokenizer, read[row].tolist(), segments=segments)), row, notes
    raise InputError(_other(given, own, past, index))


def _segments(types: Any, ids: Tensor, row: int, tokenizer: Any) -> tuple[int, ...]:
    """Which text of a pair each id of a row is of; padding behind them is of the first, as tokenizers fill it up."""
    if types is None:
        return ()
    pad, count = getattr(tokenizer, "pad_token_id", None), len(ids)
    while count and ids[count - 1] == pad:
        count -= 1
    told = torch.as_tensor(types)
    found = segments_of_types(told[..., :count], row)
    return found + (0,) * (len(ids) - count) if found else ()


def _pads(model: Any, tokenizer: Any) -> set[Any]:
    """Ids of padding: of the tokenizer, and of every model inside."""
    owners = [tokenizer, *(getattr(module, "config", None) for module in model.modules())]
    return {getattr(owner, "pad_token_id", None) for owner in owners} - {None}


def _without(ids: Sequence[int], pads: Collection[Any]) -> list[int]:
    """The ids without padding at either end."""
    there = [i for i, one in enumerate(ids) if one not in pads]
    return list(ids[there[0] : there[-1] + 1]) if there else []


def _other(given: Sequence[int], own: Sequence[int], past: int, index: int) -> str:
    at = next((i for i, one in enumerate(own) if given[past + i : past + i + 1] != [one]), 0)
    named = given[past + at] if past + at < len(given) else "nothing"
    return (
        f"the ids given are not those that this pass read: at position {past + at} row {index} read id {own[at]}, and the ids "
        f"given have {named}. Names would stand at tokens that they do not belong to. Give the ids that the model received "
        "(encode() of sentence-transformers sorts its texts and runs them in batches of its own), or say which pass with "
        "forward= and which row with index=."
    )
