"""What mixes tokens in a model and is not attention with a softmax over keys: told apart, and named as such."""

from collections.abc import Iterable

from torch import nn

from attnscope.capturing.listen.detect import mixes_otherwise
from attnscope.capturing.records import Pass

NO_SOFTMAX = "no softmax: a recurrence, a convolution, linear attention or the like"
NO_KEYS = "a softmax, but not of queries and keys: over points that it samples, or one score for each token"


def told_apart(model: nn.Module, paths: Iterable[str], chosen: Pass | None) -> tuple[list[str], dict[str, str]]:
    """Of modules that look like attention, and of which nothing was recorded: the paths of those that may attend, and the
    classes of those that mix otherwise, each with what it does. `chosen`: the pass that they ran in, where it was watched."""
    attend, mixers = [], {}
    for path in paths:
        try:
            module = model.get_submodule(path)
        except AttributeError:  # it is gone
            attend.append(path)
            continue
        if mixes_otherwise(module):
            mixers[type(module).__name__] = NO_SOFTMAX
        elif chosen is not None and _without_keys(path, chosen):
            mixers[type(module).__name__] = NO_KEYS
        else:
            attend.append(path)
    return attend, mixers


def _without_keys(path: str, chosen: Pass) -> bool:
    seen = [there for other, there in chosen.products.items() if f"{other}.".startswith(f"{path}.")]
    return bool(seen) and not any(seen)


def mixer_note(mixers: dict[str, str]) -> list[str]:
    """What a reader of a trace must know of them."""
    if not mixers:
        return []
    named = "; ".join(f"{name} ({what})" for name, what in sorted(mixers.items()))
    return [
        f"Some layers mix tokens by other means than attention with keys, so there are no weights of them to show: {named}."
    ]
