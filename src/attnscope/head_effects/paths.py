"""path_effects(): what one head does through the q, k or v of each later head alone.

A head's write reaches a later head by many ways: straight along the residual stream, and through the heads and MLPs between. The straight way is
linear once every norm is frozen at its value, so q of the later head is a sum in which the earlier head has a term. That term is exchanged for
the one that the head would have with zero or its mean, the later head gets the q that this makes, and the rest of the model runs as always
(path patching: Wang et al. 2023, arXiv 2211.00593; Goldowsky-Dill et al. 2023, arXiv 2304.05969, there without frozen norms).
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.capturing import Recorder
from attnscope.editing.measure import run
from attnscope.editing.rules import OF_KEYS, Put, Times
from attnscope.editing.selection import heads_named
from attnscope.errors import CaptureError, InputError
from attnscope.head_effects.asked import Asked, Reading, Watched
from attnscope.head_effects.cases import cases_of, key_of
from attnscope.head_effects.measure import NOT_USUAL, change_of, watch
from attnscope.head_effects.run import Found, Run, one_by_one
from attnscope.head_effects.table import EffectTable
from attnscope.head_effects.units import Unit
from attnscope.predictions.streams import checked, difference
from attnscope.tracing.modules import model_name
from attnscope.tracing.places import parse_layers
from attnscope.tracing.receipts import tolerance_of
from attnscope.tracing.site import Site
from attnscope.tracing.stream import Node, Stream, reached, values
from attnscope.tracing.trace import Trace

THROUGH = ("q", "k", "v")
STRAIGHT = "Only the straight way along the residual stream counts, with the norms on it frozen; what heads and MLPs between the two pass on does not."


def path_effects(
    model: Any,
    tokenizer: Any = None,
    texts: Any = None,
    target: Any = None,
    against: Any = None,
    *,
    sender: str,
    through: str = "q",
    how: str | float = "mean",
    over: Any = None,
    by: str = "all",
    layers: Any = None,
    stack: str | None = None,
    resume: Any = None,
    quiet: bool = False,
) -> EffectTable:
    """What a head does through the q, k or v of each later head: the way from one to the other is edited, and nothing else.

    - `model`, `tokenizer`, `texts`, `target`, `against`: as in attnscope.effects; a target is one token, or the text itself.
    - `sender`: the earlier head, such as "L16H0".
    - `through`: "q", "k" or "v" of the later heads. Heads that share k and v are one row.
    - `how`, `over`, `by`: what stands in the place of what the sender writes, as in attnscope.effects.
    - `layers`: of the later heads, numbers or names; None: all. `stack`: of the sender, where the model has several.
    - `resume`, `quiet`: as in attnscope.effects.

    Receipt: the q (or k, v) of each later head is the sum of its terms within the tolerance of the model's dtype, so its term and the rest are the whole.

    Raises InputError for what does not fit; CaptureError where the terms do not add up, or nothing later can be followed back to the sender.
    """
    watched = watch(model, tokenizer)
    cases = cases_of(texts, target, against)
    if through not in THROUGH:
        raise InputError(f"expected through as {', '.join(map(repr, THROUGH))}, got {through!r:.40}.")
    heads = heads_named((sender,), watched.addresses.layers, stack)
    ((_, layer, head),) = heads.each(0)
    change = change_of(watched, how, over if over is not None else [text for text, *_ in cases], by)
    reference = f"the {through} that it would have if {sender} wrote {change.reference}"
    name, each = model_name(watched.model), "group" if through in OF_KEYS else "head"
    later = range(layer, watched.addresses.layers[heads.stack])
    chosen = tuple(later if layers is None else parse_layers(layers) or ())
    unread: set[str] = set()

    def along_paths(
        watched: Watched, asked: Asked, starts: Mapping[Unit, int], change: Times | Put, found: Found
    ) -> None:
        if asked.question is not None and asked.readings[0].ids is not None:
            raise InputError("a path effect asks for one token: give a target, and an alternative, of one token each.")
        vectors = _changed(watched, asked.readings[0], (heads.stack, layer, head), through, change, unread)
        reached_by = {unit: first for unit, first in starts.items() if (unit.stack or None, unit.layer) in vectors}
        if not reached_by:
            raise CaptureError(
                f"no {through} of a later head could be followed back to {sender}: no head comes after it, or the functions between are not linear. "
                "attnscope.effects asks what the head does by all ways."
            )
        one_by_one(watched, asked, reached_by, Put(through, vectors, reference), found)

    key = key_of(name, cases, reference, (each, chosen, stack))
    measured = Run(watched, cases, change, each, chosen, None, quiet)
    measured.resume(resume, key)
    measured.measure(along_paths)
    lost = [f"The {through} of {', '.join(sorted(unread))} could not be followed, and is left out."] if unread else []
    notes = (*measured.notes, STRAIGHT, *lost, *(NOT_USUAL if how == "off" else ()))
    return measured.table(name, reference, notes=notes, key=key)


Vectors = dict[tuple[str | None, int], Float[Tensor, "H T D"]]


def _changed(
    watched: Watched,
    reading: Reading,
    sender: tuple[str | None, int, int],
    through: str,
    change: Times | Put,
    unread: set[str],
) -> Vectors:
    """q, k or v of each layer as the sender's edit makes them by the straight way, by stack and layer. `unread`: gets the names of sites that could not be followed."""
    with Recorder(watched.model, keep={"stream"}, own_thread=True) as recorder:
        run(watched.model, reading.inputs)
    trace = recorder.trace()
    stream, leaf = _leaf(trace, *sender[:2])
    checked(stream)
    cut = stream.cut()
    assert leaf.value is not None  # as of every leaf
    term = {leaf: _term(cut(leaf.value), sender, change)}
    wanted: list[tuple[Site, Node, Tensor]] = []
    for site in trace.sites:
        node = stream.attended.get((site.path, site.call), (None, None, None))[THROUGH.index(through)]
        if node is None:
            if site.layer > sender[1] and site.kind == "self" and site.stack == sender[0]:
                unread.add(site.name)
            continue
        if leaf not in reached([node]):
            continue
        own = _own(site, through)
        if own is None or node.width != (own.shape[0], own.shape[2]):
            unread.add(site.name)
            continue
        wanted.append((site, node, own))
    nodes = [node for _, node, _ in wanted]
    whole, terms = values(nodes, cut), values(nodes, cut, term)
    found: Vectors = {}
    for site, node, own in wanted:
        _check(site, through, whole[node].transpose(0, 1), own, stream)
        found[site.stack, site.layer] = own + terms[node].transpose(0, 1).to(own.device)
    return found


def _own(site: Site, through: str) -> Float[Tensor, "H T D"] | None:
    """What the model itself computed."""
    return None if site.weights_only else getattr(site, through).float()


def _check(site: Site, through: str, made: Tensor, own: Tensor, stream: Stream) -> None:
    error = difference(made.to(own.device), own)
    if not error <= tolerance_of(stream.dtype):
        raise CaptureError(
            f"the terms of {through} of {site.name} do not add up to what the model computed (they differ by {error:.1e} of the largest), so no path to it can be told apart."
        )


def _leaf(trace: Trace, stack: str | None, layer: int) -> tuple[Stream, Node]:
    """The z of the sender's layer, in the stream that it wrote into."""
    for stream in trace.streams:
        for leaf in stream.leaves():
            label = leaf.label
            if label is None or label.kind != "heads" or label.layer != layer:
                continue
            site = next((one for one in trace.sites if (one.path, one.call) == (label.path, label.call)), None)
            if site is not None and site.stack == stack:
                return stream, leaf
    raise CaptureError(
        f"what the heads of layer {layer} write could not be followed along the residual stream: its heads cannot be told apart there. "
        "attnscope.effects asks what they do by all ways."
    )


def _term(z: Float[Tensor, "T H Dv"], sender: tuple[str | None, int, int], change: Times | Put) -> Tensor:
    """The change of the z of all heads: that of the sender, and zero for the others."""
    stack, layer, head = sender
    if head >= z.shape[1]:
        raise InputError(f"head L{layer}H{head} is not there: layer {layer} has {z.shape[1]} heads.")
    own = z[:, head]
    if isinstance(change, Times):
        new = own * change.factor
    else:
        new = change.vectors[stack, layer][head].to(own.device, own.dtype)
        if len(new) not in (1, len(own)):
            new = torch.cat([new, own[len(new) :]])[: len(own)]  # a mean by position of shorter texts
    term = torch.zeros_like(z)
    term[:, head] = new - own
    return term
