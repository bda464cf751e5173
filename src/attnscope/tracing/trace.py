"""Trace: what a forward pass left behind, site by site, and what can be done with it.

The sites compute scores and weights on demand (`attnscope.tracing.site`); a trace adds the tokens, the order and the ways out:
verify, save, show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError, NotCaptured
from attnscope.tracing.from_tensors.attentions import read_attentions
from attnscope.tracing.from_tensors.qkv import read_qkv
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ModelInfo:
    """What was looked at: name, class, type, dtype, attention implementation, revision."""

    name: str = ""
    class_name: str = ""
    type: str = ""
    dtype: str = ""
    implementation: str = ""
    revision: str | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """One text's way through a model's attention: the sites in the order in which they ran, and the tokens.

    `tokens` are what the model read; for encoder-decoder models they are the source, and `target` what the decoder
    read. `notes` say what a reader of any view must know (text was cut, dropout was off, modules went unrecorded).
    `source` says what was traced, as the arguments of attnscope.load ("model" is the name) and attnscope.trace;
    {"inputs": True} stands for tensors, and what was left at its default is left out. None: nobody knows.
    """

    sites: tuple[Site, ...]
    tokens: Tokens
    target: Tokens | None = None
    model: ModelInfo = ModelInfo()
    notes: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    inputs: Mapping[str, Any] | None = field(default=None, repr=False)
    source: Mapping[str, Any] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        stacks = ", ".join(
            f"{count} {stack + ' ' if stack else ''}layer{'s' if count > 1 else ''}"
            for stack, count in self.stacks.items()
        )
        return f"Trace({self.model.name or self.model.class_name or 'tensors'}: {stacks}, {len(self.tokens)} tokens)"

    @property
    def stacks(self) -> dict[str | None, int]:
        """How many sites each stack has: {None: 6}, or {"encoder": 2, "decoder": 2, "cross": 2}."""
        counts: dict[str | None, int] = {}
        for site in self.sites:
            counts[site.stack] = counts.get(site.stack, 0) + 1
        return counts

    def site(self, layer: int, stack: str | None = None) -> Site:
        """The site of a layer. `stack` is needed where there are several. Raises InputError, naming what there is."""
        stacks = self.stacks
        if stack is None and len(stacks) > 1:
            raise InputError(
                f"this model has several stacks of attention: say stack={' or stack='.join(map(repr, stacks))}."
            )
        if stack is None:
            stack = next(iter(stacks))
        elif stack not in stacks:
            raise InputError(f"there is no stack {stack!r}: {', '.join(map(repr, stacks))} there is.")
        found = {site.layer: site for site in self.sites if site.stack == stack}
        wanted = layer if layer >= 0 else max(found) + 1 + layer
        if wanted not in found:
            numbers = sorted(found)
            whole = numbers == list(range(len(numbers)))
            raise InputError(
                f"layer {layer} is out of range: {'the ' + stack if stack else 'this trace'} has attention in layers "
                f"{f'0 to {numbers[-1]}' if whole else ', '.join(map(str, numbers))}."
            )
        return found[wanted]

    def query_tokens(self, site: Site) -> Tokens:
        """The tokens along the site's query axis."""
        return self.target if self.target is not None and site.stack in ("decoder", "cross") else self.tokens

    def key_tokens(self, site: Site) -> Tokens:
        """The tokens along the site's key axis."""
        return self.target if self.target is not None and site.stack == "decoder" else self.tokens

    def verify(self, full: bool = False, model: Any = None) -> Receipt:
        """Recompute every site's output and compare it with what the model returned.

        `full=True, model=...` runs the model again and checks every row of every site, not only those kept.
        """
        if not full:
            return self._receipt
        if model is None or self.inputs is None:
            raise NotCaptured(
                "verify(full=True) runs the model again: pass model=..., and use a trace that came from attnscope.trace "
                "(one loaded from a file or made of tensors no longer has the model's inputs)."
            )
        import attnscope

        return attnscope.api.rerun(model, self)._receipt

    @cached_property
    def _receipt(self) -> Receipt:
        return Receipt(tuple(site.verify() for site in self.sites))

    def save(self, path: Any, projections: bool = False) -> None:
        """Write the trace to a .safetensors file, whole or not at all. `projections=True` stores W_O and b_O too."""
        import attnscope

        attnscope.api.save(self, path, projections=projections)

    def to_numpy(self) -> "dict[str, np.ndarray]":
        """Every kept tensor as fp32 numpy, named as in a file: {"s0.q": [H, Q, D], "s0.k": …}."""
        import attnscope

        return attnscope.api.arrays(self)

    def show(self, level: str = "neuron", **options: Any) -> Any:
        """A View of this trace; options as in attnscope.show: layer, head, query, key, stack, theme, static, max_mb."""
        import attnscope

        return attnscope.api.show_trace(self, level=level, **options)

    def plot(self, level: str = "neuron", ax: Any = None, *, width: float = 7.2, **options: Any) -> Any:
        """A level drawn with matplotlib within `ax`, or in a new figure `width` inches wide; returns the axes, whose
        `child_axes` hold the parts. Options as in `show`."""
        return self.show(level, **options).plot(ax, width=width)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.show()._repr_mimebundle_(**kwargs)

    @classmethod
    def from_qkv(
        cls,
        query: Any,
        key: Any,
        value: Any,
        tokens: Sequence[str] | Tokens | None = None,
        mask: Any = None,
        scaling: float | None = None,
        is_causal: bool = False,
    ) -> "Trace":
        """A trace of anybody's tensors: (T, D), (H, T, D) or a batch of one, torch or numpy.

        `mask` is boolean (True: may look) or additive and broadcasts to (H, Q, K). There is no model, so no receipt.
        Raises InputError where shapes do not fit.
        """
        site = read_qkv(query, key, value, mask, scaling, is_causal)
        named = (
            tokens
            if isinstance(tokens, Tokens)
            else Tokens(tuple(map(str, range(site.keys) if tokens is None else tokens)))
        )
        if len(named) != site.keys:
            raise InputError(f"{len(named)} tokens were given for {site.keys} keys; give one name for each.")
        target = Tokens(tuple(map(str, range(site.queries)))) if site.kind == "cross" else None
        return cls((site,), named, target, ModelInfo(name="from_qkv", dtype=str(site.q.dtype).removeprefix("torch.")))

    @classmethod
    def from_attentions(cls, attentions: Any, tokens: Any, key_tokens: Any = None) -> "Trace":
        """A trace of attention weights from anywhere, with nothing behind them: no q, no k, no receipt.

        `attentions` is what transformers calls outputs.attentions (one (1, H, Q, K) per layer), or a list of (H, Q, K)
        or (Q, K), None where a layer is missing, or one tensor: (Q, K), (H, Q, K), (L, H, Q, K) or (L, 1, H, Q, K);
        torch or numpy. `tokens` are their names: strings, or Tokens. Cross attention has names on each side: `tokens`
        are the queries' and `key_tokens` the keys'. An encoder-decoder model's three stacks go in together:

            Trace.from_attentions(
                {"encoder": out.encoder_attentions, "decoder": out.decoder_attentions, "cross": out.cross_attentions},
                {"encoder": source_tokens, "decoder": target_tokens},
            )

        NaN, and rows that do not sum to 1, are kept and said in the trace's notes. Raises InputError for a batch of
        several, names that do not fit the shapes, and negative or infinite numbers; what needs q, k or v raises
        NotCaptured afterwards.
        """
        read = read_attentions(attentions, tokens, key_tokens)
        dtype = str(read.sites[0].kept_dtype).removeprefix("torch.")
        return cls(read.sites, read.tokens, read.target, ModelInfo(name="from_attentions", dtype=dtype), read.notes)

    def replace_sites(self, sites: Sequence[Site]) -> "Trace":
        """The same trace with other sites."""
        return replace(self, sites=tuple(sites))
