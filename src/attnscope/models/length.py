"""How many tokens a model can read, and a text cut to that; and do the ids fit its vocabulary?"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from attnscope.errors import InputError
from attnscope.tracing.modules import modules_of

# Tables of absolute positions, by the last part of their module path.
_POSITION_TABLES = frozenset("position_embeddings position_embedding wpe embed_positions embed_position".split())


def check_ids(model: Any, tokenizer: Any, ids: Tensor) -> None:
    if ids.ndim != 2:
        raise InputError(f"input_ids have shape {list(ids.shape)}; expected [1, T].")
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    size = getattr(embedding, "num_embeddings", None)
    if size is None or int(ids.max()) < size:
        return
    wrong = int((ids[0] >= size).nonzero()[0, 0])
    piece = tokenizer.convert_ids_to_tokens(int(ids[0, wrong])) if hasattr(tokenizer, "convert_ids_to_tokens") else "?"
    raise InputError(
        f"this tokenizer does not fit this model: token {wrong} ({piece!r}) has id {int(ids[0, wrong])}, and the model's "
        f"vocabulary has {size} entries. Load both from the same name: model, tokenizer = attnscope.load(…)."
    )


def max_positions(model: Any) -> int | None:
    """How many tokens a model with a table of absolute positions can read; None where there is no such table."""
    sizes = []
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    beside: list[int] = []  # tables beside the one of the tokens: not those of an image's patches
    for parent in modules_of(model):
        for name in _POSITION_TABLES & parent._modules.keys():
            module = parent._modules[name]
            if not isinstance(module, nn.Embedding):
                continue
            # RoBERTa's kin count positions from padding_idx + 1, OPT's from its offset.
            start = module.padding_idx + 1 if module.padding_idx is not None else 0
            sizes.append(module.num_embeddings - max(start, int(getattr(module, "offset", 0))))
            if any(child is embedding for child in parent._modules.values()):
                beside.append(sizes[-1])
    return min(beside or sizes, default=None)


def fit(model: Any, ready: dict[str, Any], generate: int, truncate: bool) -> tuple[dict[str, Any], Sequence[int]]:
    """The inputs, cut to what the model can read if that is wanted, and the positions that are left; InputError if
    cutting is needed and not wanted."""
    length, limit = ready["input_ids"].shape[1], max_positions(model)
    if limit is None or length + generate <= limit:
        return ready, range(length)
    room = limit - generate
    if not truncate or room < 1:
        extra = f" and {generate} more are to be generated" if generate else ""
        raise InputError(
            f"the text has {length} tokens{extra}, and this model reads at most {limit} (its table of positions ends there). "
            "Shorten the text, or cut it: truncate=True in Python, --truncate on the command line."
        )
    kept = [*range(room - 1), length - 1]  # the last token is [SEP] or its like
    cut = {
        name: value[:, kept] if isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == length else value
        for name, value in ready.items()
    }
    return cut, kept
