"""What a reader of any view must know of a captured pass."""

import math
from collections import defaultdict
from collections.abc import Sequence, Set
from typing import Any

import torch
from torch import Tensor

from attnscope.capturing.listen.multi_head_attention import MULTI_HEAD
from attnscope.capturing.records import Pass
from attnscope.capturing.sites import NO_VECTORS, several
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.site import Site

TOO_LONG = (
    "it attends in pieces: only all of its weights together would show them, and for this text they are too many. A shorter text "
    "shows it"
)
FUNCTION_MODE_NOTE = (
    "Attention outside transformers' interface was read from torch's own functions. Torch leaves out its fused paths "
    "meanwhile, so the model's outputs agree with those of a plain pass to 4 ulp, and may not be equal to the bit."
)
NO_KEYS_NOTE = (
    "All keys of this text are hidden in {}. For such a text torch's fused paths give NaN where the paths that ran here give "
    "numbers, so the outputs of this row may differ from those of a plain pass."
)


def without_projection(sites: Sequence[Site]) -> list[str]:
    """A note for the reader where a layer takes the heads' output, and W_O cannot be told from it."""
    reasons = {site.no_projection: [] for site in sites if site.no_projection}
    for site in sites:
        if site.no_projection:
            reasons[site.no_projection].append(site.name)
    return [
        f"What the heads of {several(names)} write is not shown, and no W_O is claimed there: {reason}."
        for reason, names in reasons.items()
    ]


def _hides_all(mask: MaskRule) -> bool:
    return mask.keys is not None and not bool(mask.keys.any())


def broken_numbers(sites: Sequence[Site]) -> list[str]:
    """A note for the reader where q, k or v hold NaN or infinite values: the layers, named."""
    # One look at the sums is many times cheaper than one at each value; a sum may overflow, and then each site is read.
    if all(map(_sums_up, _alike([x for site in sites for x in site.kept.values()]))):
        return []
    broken = [site.name for site in sites if not all(bool(x.isfinite().all()) for x in site.kept.values())]
    if not broken:
        return []
    names = several(broken)
    where = "the weights" if all(site.weights_only for site in sites) else "q, k or v"
    return [f"The model computes NaN or infinite values: they are in {where} of {names}, and are shown as they are."]


_SMALL = 1 << 20  # numbers that are copied side by side sooner than they are added one tensor after another


def _alike(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors that can be stacked, together."""
    found: dict[Any, list[Tensor]] = defaultdict(list)
    for one in tensors:
        found[one.shape, one.dtype, one.device].append(one)
    return [*found.values()]


def _sums_up(tensors: list[Tensor]) -> bool:
    """Whether tensors of one shape have a finite sum."""
    if len(tensors) * tensors[0].numel() <= _SMALL:
        return math.isfinite(torch.stack(tensors).sum(dtype=torch.float32).item())
    return bool(torch.stack([one.sum(dtype=torch.float32) for one in tensors]).isfinite().all())


def function_mode_notes(chosen: Pass, sites: Sequence[Site]) -> list[str]:
    """What a reader must know of a pass in which torch's own functions were watched."""
    if not chosen.watched:
        return []
    notes = [FUNCTION_MODE_NOTE]
    fused = {record.path for record in chosen.records if record.implementation == MULTI_HEAD}
    blind = [site.name for site in sites if site.path in fused and _hides_all(site.mask)]
    if blind:
        notes.append(NO_KEYS_NOTE.format(several(blind)))
    only = [site.name for site in sites if site.weights_only]
    if only:
        notes.append(f"Weights only ({several(only)}): {NO_VECTORS}.")
    return notes


def hook_notes(paths: Set[str]) -> list[str]:
    """What hooks called by themselves within the pass, if anything."""
    if not paths:
        return []
    named = several(sorted(paths))
    return [
        f"A hook called {named} on an input of its own during this pass. That is no part of the model's own pass, and not shown."
    ]


def unread_note(paths: Sequence[str], too_long: Set[str]) -> list[str]:
    """Which modules ran and may attend, without a record of it: the innermost of them, where one is a part of the other.
    `too_long`: those that a shorter text would show."""
    inner = [path for path in paths if not any(other.startswith(f"{path}.") for other in paths)]
    kinds = (
        (f"It ran, and {TOO_LONG}", [path for path in inner if path in too_long]),
        ("It ran, and attnscope could not read it", [path for path in inner if path not in too_long]),
    )
    return [f"Not shown: what looks like attention in {several(some)}. {why}." for why, some in kinds if some]


def left_out_notes(left_out: Set[str], recorded: Set[str]) -> list[str]:
    """What is shown of some modules, and what is not: paths of those with one more softmax, and of all that were recorded."""
    both = sorted(left_out & recorded)
    if not both:
        return []
    named = ", ".join(both[:4]) + (" …" if len(both) > 4 else "")
    return [f"More attention ran in {named}, over blocks or streams whose places are not known. It is not shown."]
