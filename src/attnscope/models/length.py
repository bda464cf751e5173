"""How many tokens a model can read, and a text cut to that; and do the ids fit its vocabulary?"""

from collections.abc import Iterable, Sequence
from typing import Any
from weakref import ref

from torch import Tensor, nn

from attnscope.errors import InputError
from attnscope.tracing.modules import Look, look_at, modules_of
from attnscope.tracing.special_ids import ROLES, compare_roles, special_ids

# Tables of absolute positions, by the last part of their module path.
_POSITION_TABLES = frozenset("position_embeddings position_embedding wpe embed_positions embed_position".split())


def check_ids(model: Any, tokenizer: Any, ids: Tensor) -> None:
    if ids.ndim != 2:
        raise InputError(f"input_ids have shape {list(ids.shape)}; expected [1, T].")
    embedding = embedding_of(model)
    size = getattr(embedding, "num_embeddings", None)
    if size is None or int(ids.max()) < size:
        return
    wrong = int((ids[0] >= size).nonzero()[0, 0])
    if tokenizer is None:
        raise InputError(
            f"these ids do not fit this model: token {wrong} has id {int(ids[0, wrong])}, and the model's vocabulary has {size} entries. "
            "Give ids of the model's own tokenizer."
        )
    try:
        piece = tokenizer.convert_ids_to_tokens(int(ids[0, wrong]))
    except (AttributeError, OverflowError):  # it names no tokens, or holds none of so high a number
        piece = "?"
    raise InputError(
        f"this tokenizer does not fit this model: token {wrong} ({piece!r}) has id {int(ids[0, wrong])}, and the model's "
        f"vocabulary has {size} entries. Load both from the same name: model, tokenizer = attnscope.load(…)."
    )


def another_tokenizer(model: Any, tokenizer: Any) -> list[str]:
    """A note where ids that the model knows are named by a tokenizer that is hardly its own: it has more entries than the
    model, or all special tokens that both have are other ones, two at least. A vocabulary padded beyond it is normal."""
    rows = getattr(embedding_of(model), "num_embeddings", None)
    config, base = getattr(model, "config", None), getattr(tokenizer, "vocab_size", None)
    if not isinstance(rows, int) or config is None:
        return []
    roles = compare_roles(config, tokenizer, rows)
    if isinstance(base, int) and base > rows:
        why = f"it has {base:,} entries, and the model's vocabulary {rows:,}"
    elif len(roles) > 1 and set(roles.values()) == {"unlike"}:
        pairs = [(role, *(min(special_ids(owner, ROLES[role])) for owner in (tokenizer, config))) for role in roles]
        why = "; ".join(f"its {role} token is id {own}, and the model's {theirs}" for role, own, theirs in pairs)
    else:
        return []
    return [
        f"The tokenizer may be another model's, and then tokens have wrong names here: {why}. Load both from one name."
    ]


def embedding_of(model: Any) -> Any:
    """The table of token vectors; None where the model does not say, or has none."""
    try:
        return model.get_input_embeddings()
    except (AttributeError, NotImplementedError, TypeError):
        return None


def max_positions(model: Any, look: Look | None = None) -> int | None:
    """How many tokens a model with a table of absolute positions can read; None where there is no such table.

    Of a model with several towers, it is the table of the one that reads the text. `look`: at the model's modules, where you
    have just had one.
    """
    look = look or look_at(model)
    if "positions" not in look.known:
        look.known["positions"] = [*map(ref, _tables(model, look.modules))]
    return min((_size(table) for one in look.known["positions"] if (table := one()) is not None), default=None)


def _tables(model: Any, modules: Sequence[nn.Module]) -> list[nn.Embedding]:
    """The tables of the positions of a text."""
    embedding = embedding_of(model)
    holders = [module for module in modules if not _POSITION_TABLES.isdisjoint(module._modules)]
    # Tables beside the one of the tokens are the text's: not those of an image's patches.
    beside = [one for one in holders if any(child is embedding for child in one._modules.values())]
    if tables := _tables_below(module for module in beside if not _reads_pixels(module)):
        return tables
    # Which tower reads the text is asked only where there is more than its own table.
    return _tables_below(_readers(model, embedding)) if holders else []


def _tables_below(parents: Iterable[nn.Module]) -> list[nn.Embedding]:
    """The tables of positions right below these modules."""
    below = (parent._modules[name] for parent in parents for name in _POSITION_TABLES & parent._modules.keys())
    return [module for module in below if isinstance(module, nn.Embedding)]


def _size(table: nn.Embedding) -> int:
    """How many positions it has. RoBERTa's kin count them from padding_idx + 1, OPT's from its offset."""
    start = table.padding_idx + 1 if table.padding_idx is not None else 0
    return table.num_embeddings - max(start, int(getattr(table, "offset", 0)))


def _readers(model: Any, embedding: Any) -> list[nn.Module]:
    """The modules among which the text's positions are: those of the innermost transformers models that hold the table of
    tokens (LLaVA's language model, not its vision tower), else all that are in no tower of images or sounds."""
    every = modules_of(model)
    towers = {id(module): modules_of(module) for module in every[1:] if hasattr(type(module), "main_input_name")}
    found: dict[int, nn.Module] = {}
    for tower, inside in reversed(towers.items()):  # the deepest first
        holds = any(module is embedding for module in inside)
        if holds and tower not in found and all(id(module) not in found for module in inside):
            found |= {id(module): module for module in inside}
    apart = {
        id(module)
        for tower, inside in towers.items()
        if tower not in found and getattr(inside[0], "main_input_name", "") != "input_ids"
        for module in inside
    }
    readers = [*found.values()] or [module for module in every if id(module) not in apart]
    return [module for module in readers if not _reads_pixels(module)]


def _reads_pixels(module: nn.Module) -> bool:
    """Whether a convolution beside its table cuts an image into patches, or a sound into frames."""
    return any(isinstance(child, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) for child in module._modules.values())


def fit(
    model: Any,
    ready: dict[str, Any],
    generate: int,
    truncate: bool,
    most: int | None = None,
    look: Look | None = None,
) -> tuple[dict[str, Any], Sequence[int]]:
    """The inputs, cut to what the model can read if that is wanted, and the positions that are left; InputError if
    cutting is needed and not wanted. `most`: what a SentenceTransformer around the model lets through. `look`: at the model's
    modules, where you have just had one."""
    length, table = ready["input_ids"].shape[1], max_positions(model, look)
    limit = min((one for one in (table, most) if one is not None), default=None)
    why = "its table of positions ends there" if limit == table else "its max_seq_length"
    if limit is None or length + generate <= limit:
        return ready, range(length)
    room = limit - generate
    if not truncate or room < 1:
        extra = f" and {generate} more are to be generated" if generate else ""
        raise InputError(
            f"the text has {length} tokens{extra}, and this model reads at most {limit} ({why}). "
            "Shorten the text, or cut it: truncate=True in Python, --truncate on the command line."
        )
    kept = [*range(room - 1), length - 1]  # the last token is [SEP] or its like
    cut = {
        name: value[:, kept] if isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == length else value
        for name, value in ready.items()
    }
    return cut, kept
