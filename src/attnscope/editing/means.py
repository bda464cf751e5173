"""The mean of what heads write, z, over texts: what `mean` puts in the place of a head's own z."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing import Recorder
from attnscope.capturing.read.stacks import Place
from attnscope.editing.rules import Layer
from attnscope.errors import InputError
from attnscope.models.inputs import prepare
from attnscope.tracing.modules import in_eval
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

BY = ("all", "position")


def mean_of(model: nn.Module, tokenizer: Any, over: Any, by: str) -> tuple[dict[Layer, Float[Tensor, "H T Dv"]], str]:
    """The mean z of every layer, [H, 1, Dv] over all tokens of all texts or [H, T, Dv] by position, and what it is, in words.

    `over`: texts, mappings of inputs, or traces. `by`: "all" or "position". Raises InputError where there is no text.
    """
    if by not in BY:
        raise InputError(f"expected by as {' or '.join(map(repr, BY))}, got {by!r:.40}.")
    texts = _several(over)
    sums: dict[Layer, Tensor] = {}
    counts: dict[Layer, Tensor] = {}
    for text in texts:
        for layer, z in vectors_of(text if isinstance(text, Trace) else traced(model, tokenizer, text), "z").items():
            z = z.double().cpu()
            added = z if by == "position" else z.sum(1, keepdim=True)
            count = torch.ones(z.shape[1]) if by == "position" else torch.tensor([float(z.shape[1])])
            sums[layer] = _padded_sum(sums.get(layer), added, 1)
            counts[layer] = _padded_sum(counts.get(layer), count, 0)
    where = "by position" if by == "position" else "over all tokens"
    means = {layer: (total / counts[layer][:, None]).float() for layer, total in sums.items()}
    return means, f"the mean of {len(texts)} text{'s' if len(texts) > 1 else ''}, {where}"


def _several(over: Any) -> Sequence[Any]:
    if isinstance(over, (str, Mapping, Trace)):
        return [over]
    texts = list(over) if isinstance(over, Iterable) else []
    if not texts or not all(isinstance(one, (str, Mapping, Trace)) for one in texts):
        raise InputError("expected over= as texts, traces or mappings of inputs, at least one, to take the mean of.")
    return texts


def _padded_sum(total: Tensor | None, more: Tensor, axis: int) -> Tensor:
    """Both added up; the shorter one has nothing behind its end."""
    if total is None:
        return more
    longer, shorter = (total, more) if total.shape[axis] >= more.shape[axis] else (more, total)
    longer = longer.clone()
    longer.narrow(axis, 0, shorter.shape[axis]).add_(shorter)
    return longer


def traced(model: nn.Module, tokenizer: Any, text: Any) -> Trace:
    """A trace of a text, or of inputs of one row, with z at every query."""
    inputs = None if isinstance(text, str) else text
    prepared = prepare(model, tokenizer, text=text if inputs is None else None, inputs=inputs)
    with in_eval(model), torch.no_grad(), Recorder(model, all_rows=True, own_thread=True) as recorder:
        model(**prepared.inputs)
    if not len(prepared.tokens):
        return recorder.trace(target=prepared.target)
    return recorder.trace(tokens=prepared.tokens, target=prepared.target)


def vectors_of(trace: Trace, link: str) -> dict[Layer, Float[Tensor, "H T D"]]:
    """Of every layer of a trace q [H, Q, D], k [Hkv, K, D], v [Hkv, K, Dv] or z [H, Q, Dv]. Raises InputError for a trace of a cached step, whose queries begin behind others."""
    found: dict[Layer, Tensor] = {}
    for site in trace.sites:
        if site.query_offset and link in ("q", "z"):
            raise InputError(
                f"the trace given is of a cached step: its query 0 stands at position {site.query_offset} of the text. Trace the whole text in "
                "one pass."
            )
        found.setdefault((site.stack, site.layer), _vectors(site, link))
    return found


def _vectors(site: Site, link: str) -> Float[Tensor, "H T D"]:
    if link != "z":
        return getattr(site, link)
    whole = site.z is not None and site.z_rows is not None and len(site.z_rows) == site.queries
    return site.z if whole and site.z is not None else site.output()


def weights_of(trace: Trace) -> Callable[[Place, int], Float[Tensor, "Q K"] | None]:
    """The weights of a trace, by place and head; None where it has none."""
    sites = {(site.stack, site.layer): site for site in trace.sites}

    def weights(place: Place, head: int) -> Float[Tensor, "Q K"] | None:
        site = sites.get((place.stack, place.layer))
        if site is None and place.stack is None:
            site = next((one for (_, layer), one in sites.items() if layer == place.layer), None)
        return None if site is None or head >= site.heads else site.weights(head)

    return weights
