"""Trace: what a forward pass left behind, site by site, and what can be done with it.

The sites compute scores and weights on demand (`attnscope.tracing.site`); a trace adds the tokens, the order and the
receipt. Its two base classes hold what rooms above do with it: `questions` (statistics, predictions) and `ways_out` (save, show).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from attnscope.errors import InputError, NotCaptured
from attnscope.text.characters import printable
from attnscope.tracing.badges import Badge
from attnscope.tracing.from_tensors.attentions import read_attentions
from attnscope.tracing.from_tensors.qkv import read_qkv
from attnscope.tracing.places import check_flag, parse_layer
from attnscope.tracing.questions import Questions
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.site import Site
from attnscope.tracing.stream import Stream
from attnscope.tracing.stream_table import StreamTable
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.ways_out import WaysOut


@dataclass(frozen=True)
class ModelInfo:
    """What was looked at.

    `name`: the model's, as on the hub. `class_name`: its Python class. `type`: its configuration's model_type. `dtype`:
    what q was computed in, such as "float32". `implementation`: of attention, such as "sdpa". `revision`: the hub's
    commit.
    """

    name: str = ""
    class_name: str = ""
    type: str = ""
    dtype: str = ""
    implementation: str = ""
    revision: str | None = None


@dataclass(frozen=True, eq=False)
class Trace(Questions, WaysOut):
    """One text's way through a model's attention: the sites in the order in which they ran, and the tokens.

    attnscope.trace makes one; so do `from_qkv`, `from_attentions`, attnscope.load_trace and a capture's recorder.

    `sites`: one Site per attention call.
    `tokens`: what the model read; of encoder-decoder models the source.
    `target`: what the decoder of an encoder-decoder model read; None without one.
    `model`: its name, class, dtype and the like.
    `notes`: what a reader of any view must know (text was cut, dropout was off).
    `unrecorded`: paths of attention modules that ran and could not be read.
    `inputs`: the model's inputs, kept for `verify(full=True)`.
    `source`: what was traced, as the arguments of attnscope.load ("model" is the name) and attnscope.trace; {"inputs":
        True} stands for tensors, and what was left at its default is left out. None: not known.
    `badges`: roles of its heads that were found in other texts, see attnscope.roles; show(roles=…) adds them.
    `streams`: the residual stream of each stack, where keep={"stream"} asked for it; files do not hold it.
    `stream_table`: how its residual stream became a prediction, at some positions; None where nobody asked.
    """

    sites: tuple[Site, ...]
    tokens: Tokens
    target: Tokens | None = None
    model: ModelInfo = ModelInfo()
    notes: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    inputs: Mapping[str, Any] | None = field(default=None, repr=False)
    source: Mapping[str, Any] | None = field(default=None, repr=False)
    badges: tuple[Badge, ...] = field(default=(), repr=False)
    streams: tuple[Stream, ...] = field(default=(), repr=False)
    stream_table: StreamTable | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(map(self._with_tokens, self.sites)))

    def _with_tokens(self, site: Site) -> Site:
        """The site, with the tokens of this trace along its query axis."""
        tokens = self.query_tokens(site)
        if site.query_tokens is tokens:
            return site
        other = object.__new__(type(site))  # replace() goes through all fields, and takes ten times as long
        other.__dict__.update(site.__dict__, query_tokens=tokens)
        return other

    def __repr__(self) -> str:
        stacks = ", ".join(
            f"{count} {stack + ' ' if stack else ''}layer{'s' if count > 1 else ''}"
            for stack, count in self.stacks.items()
        )
        name = self.model.name or self.model.class_name or "tensors"
        return printable(f"Trace({name}: {stacks}, {len(self.tokens)} tokens)")

    @property
    def stacks(self) -> dict[str | None, int]:
        """How many sites each stack has: {None: 6}, or {"encoder": 2, "decoder": 2, "cross": 2}."""
        counts: dict[str | None, int] = {}
        for site in self.sites:
            counts[site.stack] = counts.get(site.stack, 0) + 1
        return counts

    def site(self, layer: Any, stack: str | None = None) -> Site:
        """The site of a layer.

        `layer`: its number from 0 (negative ones count from the end), or a name such as "L2".
        `stack`: "encoder", "decoder", "cross" or a tower's name; needed where there are several.

        Raises InputError, which names the layers and stacks there are.
        """
        number, stacks = parse_layer(layer), self.stacks
        if stack is None and len(stacks) > 1:
            raise InputError(
                f"this model has several stacks of attention: say stack={' or stack='.join(map(repr, stacks))}."
            )
        if stack is None:
            stack = next(iter(stacks))
        elif stack not in stacks:
            there = "none by name" if set(stacks) == {None} else ", ".join(map(repr, stacks))
            raise InputError(f"there is no stack {stack!r}; this trace has {there}.")
        found = {site.layer: site for site in self.sites if site.stack == stack}
        wanted = number if number >= 0 else max(found) + 1 + number
        if wanted not in found:
            numbers = sorted(found)
            whole = numbers == list(range(len(numbers)))
            raise InputError(
                f"layer {number} is out of range: {'the ' + stack if stack else 'this trace'} has attention in layers "
                f"{f'0 to {numbers[-1]}' if whole else ', '.join(map(str, numbers))}."
            )
        return found[wanted]

    def query_tokens(self, site: Site) -> Tokens:
        """The tokens along the query axis of this `site`; with a cache, of the whole text so far."""
        if site.named is not None:
            return site.named[0]
        return self.target if self.target is not None and site.stack in ("decoder", "cross") else self.tokens

    def key_tokens(self, site: Site) -> Tokens:
        """The tokens along the key axis of this `site`."""
        if site.named is not None:
            return site.named[1]
        return self.target if self.target is not None and site.stack == "decoder" else self.tokens

    @cached_property
    def tables(self) -> tuple[Tokens, ...]:
        """All tokens that stand along some axis: `tokens`, `target` where there is one, and those of other towers."""
        found = {id(one): one for one in (self.tokens, self.target) if one is not None}
        found |= {id(one): one for site in self.sites for one in site.named or ()}
        return tuple(found.values())

    def verify(self, full: bool = False, model: Any = None) -> Receipt:
        """Recompute every site's output and compare it with what the model returned.

        `full`: True runs the model again and checks every row of every site, not only those kept.
        `model`: the one that was traced; needed with `full`.

        Raises NotCaptured where `full` lacks the model or its inputs.
        """
        check_flag("full", full)
        if not full:
            state = [None if site.projection is None else site.projection.state for site in self.sites]
            known = self.__dict__.get("_known_receipt")
            if known is None or known[0] != state:  # W_O is the model's own: it may have been trained since
                known = self.__dict__["_known_receipt"] = (state, Receipt(tuple(site.verify() for site in self.sites)))
            return known[1]
        if model is None or self.inputs is None:
            raise NotCaptured(
                "verify(full=True) runs the model again: pass model=…, and use a trace that attnscope.trace made "
                "(one loaded from a file or made of tensors does not have the model's inputs)."
            )
        import attnscope

        return attnscope.api.rerun(model, self).verify()

    @classmethod
    def from_qkv(
        cls,
        query: Any,
        key: Any,
        value: Any,
        tokens: Sequence[str] | Tokens | None = None,
        mask: Any = None,
        scaling: Any = None,
        is_causal: bool = False,
        *,
        query_tokens: Sequence[str] | Tokens | None = None,
        names: Sequence[str] | None = None,
        softcap: Any = None,
        sinks: Any = None,
        output: Any = None,
        projection: Any = None,
        projection_bias: Any = None,
    ) -> "Trace":
        """A trace of query, key and value tensors of your own (torch, numpy, JAX), of one layer or of several.

        `query`: [Q, D], [H, Q, D] or a batch of one. `key`: [K, D] or [Hkv, K, D]; H is a multiple of Hkv. `value`: [K,
            Dv] or [Hkv, K, Dv]. As the model uses them: after rotary embedding. Of several layers: three lists of these
            (None where a layer is missing), three mappings {layer: tensor}, or three stacked tensors [L, H, T, D].
        `tokens`: names of the keys, strings or Tokens (None: their numbers). `query_tokens`: names of the queries where
            they are another text, as in cross-attention.
        `mask`: boolean (True: may look) or a float that is added to the scores; broadcasts to [H, Q, K].
        `scaling`: what q · k is multiplied by (None: 1/√D). `softcap`: scores become softcap · tanh(score / softcap).
            `sinks`: [H] logits that join the softmax.
        `is_causal`: True lets a query see itself and the keys before it, aligned to the upper left.
        `output`: what the model's heads returned, weights · v before W_O, [H, Q, Dv]. The receipt compares it with what
            these tensors give; without it there is no receipt.
        `projection`: W_O, [H, Dv, M] or [H · Dv, M] (of an nn.Linear its weight.T), and `projection_bias`: b_O, [M]: for what
            each head writes.
        `names`: a name for each layer, such as its module path.

        Each of `mask` to `projection_bias` is given once for all layers, or as a list or mapping with one for each (a
            stacked tensor too, where it has one axis more).

        Raises InputError for shapes, layers and names that do not fit, complex numbers, a scaling that is not finite, and
        float masks of NaN, +inf, or 0 and 1.
        """
        read = read_qkv(
            query,
            key,
            value,
            tokens,
            query_tokens,
            names=names,
            mask=mask,
            scaling=scaling,
            is_causal=is_causal,
            softcap=softcap,
            sinks=sinks,
            output=output,
            projection=projection,
            projection_bias=projection_bias,
        )
        dtype = str(read.sites[0].q.dtype).removeprefix("torch.")
        return cls(read.sites, read.tokens, read.target, ModelInfo(name="from_qkv", dtype=dtype), read.notes)

    @classmethod
    def from_attentions(cls, attentions: Any, tokens: Any, key_tokens: Any = None) -> "Trace":
        """A trace of attention weights from anywhere, with nothing behind them: no q, no k, no receipt.

        `attentions`: what transformers calls outputs.attentions (one (1, H, Q, K) per layer), or a list of (H, Q, K) or
            (Q, K), None where a layer is missing, or one tensor: (Q, K), (H, Q, K), (L, H, Q, K) or (L, 1, H, Q, K);
            torch or numpy.
        `tokens`: their names, strings or Tokens.
        `key_tokens`: for cross attention, the names of the keys; `tokens` are then the queries'.

        An encoder-decoder model's three stacks go in together:

            Trace.from_attentions(
                {"encoder": out.encoder_attentions, "decoder": out.decoder_attentions, "cross": out.cross_attentions},
                {"encoder": source_tokens, "decoder": target_tokens},
            )

        NaN, and rows that do not sum to 1, are kept, and the trace's notes report them. Raises InputError for a batch
        of several, names that do not fit the shapes, and negative or infinite numbers. What needs q, k or v raises
        NotCaptured afterwards.
        """
        read = read_attentions(attentions, tokens, key_tokens)
        dtype = str(read.sites[0].kept_dtype).removeprefix("torch.")
        return cls(read.sites, read.tokens, read.target, ModelInfo(name="from_attentions", dtype=dtype), read.notes)

    def with_groups(self, groups: Any) -> "Trace":
        """The same trace, with groups of tokens of your own; `tokens.groups` shows them, and `groups()` counts by them.

        `groups`: by name, {"system": (0, 57), "question": r"Question:.*"}; see attnscope.trace. Raises InputError for groups that overlap, lie
            beyond the text, or find nothing in it.
        """
        return replace(self, tokens=self.tokens.with_groups(groups))

    def replace_sites(self, sites: Sequence[Site]) -> "Trace":
        """The same trace with these `sites` instead."""
        return replace(self, sites=tuple(sites))
