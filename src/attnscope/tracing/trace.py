"""Trace: what a forward pass left behind, site by site, and what can be done with it.

The sites compute scores and weights on demand (`attnscope.tracing.site`); a trace adds the tokens, the order and the
ways out: verify, save, show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError, NotCaptured
from attnscope.text.characters import printable
from attnscope.tracing.badges import Badge
from attnscope.tracing.from_tensors.attentions import read_attentions
from attnscope.tracing.from_tensors.qkv import read_qkv
from attnscope.tracing.places import check_flag, parse_layer
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.site import Site
from attnscope.tracing.stream import Stream
from attnscope.tracing.stream_table import StreamTable
from attnscope.tracing.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np


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
class Trace:
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

    def statistics(self, names: Any = None, model: Any = None) -> Any:
        """A StatisticsTable: one number for each head and statistic, from all queries. `table.sort("induction")` orders it,
        `table.to_frame()` is a DataFrame.

        `names`: of the statistics, one or several; None: all that this trace can have. docs/statistics.md lists them with
            their formulas.
        `model`: the one that was traced; for copying_tokens and query_key_tokens, which go through its embedding.

        Raises InputError for names that are none, NotCaptured where a statistic that you name needs what the trace does not
        hold.
        """
        import attnscope

        return attnscope.api.statistics_of(self, names, model)

    def predictions(self, query: Any = -1, top: Any = 10, *, model: Any = None, tokenizer: Any = None) -> Any:
        """What the model predicts at a token: the next tokens (causal models), what fills the place (masked language models), or
        labels (classifiers); each with its logit, probability (softmax over all logits) and rank.

        `query`: a position from 0 (negative ones count from the end), or a token as written.
        `top`: how many.
        `model`: the one that was traced; needed where the trace was made without keep={"stream"}, and run once more.
        `tokenizer`: spells the predictions, where the trace was made without one.

        Raises NotCaptured for a trace without its stream and a model without logits, InputError for arguments that do not fit.
        """
        import attnscope

        return attnscope.api.predictions_of(self, query, top, model, tokenizer)

    def lens(
        self, query: Any = None, layer: Any = None, top: Any = 5, *, model: Any = None, tokenizer: Any = None
    ) -> Any:
        """The logit lens: what the model would predict if it stopped early, W_U · norm_f(x) of the stream x after the embedding and
        after each layer, the final norm computed anew (nostalgebraist 2020). After the last layer it is the model's own prediction.

        `query`: a token, as for `predictions`; None: all whose stream was kept.
        `layer`: the state after so many layers, from 0 (the embedding); negative ones count from the end. None: all.
        `top`: how many tokens of each. `model`, `tokenizer`: as for `predictions`.

        Raises NotCaptured for a model without a head that is linear, CaptureError where the stream's receipt fails.
        """
        import attnscope

        return attnscope.api.lens_of(self, query, layer, top, model, tokenizer)

    def attribution(
        self, target: Any, against: Any = None, query: Any = -1, *, model: Any = None, tokenizer: Any = None
    ) -> Any:
        """Which parts made a logit, or logit(target) − logit(against): the embedding, every head, every MLP and the biases. They add
        up exactly; every norm that a part passes is frozen at its value (docs/predictions.md). The effect of a cap on the logits
        is a row of its own.

        `target`, `against`: tokens or labels as written (a word in a text usually begins with its space), or their ids; against
            None: the logit alone.
        `query`: the token at which the prediction stands, as for `predictions`. `model`, `tokenizer`: likewise.

        Raises NotCaptured for a model whose head is not linear, CaptureError where the stream's receipt fails, InputError for
        targets that are not one token.
        """
        import attnscope

        return attnscope.api.attribution_of(self, target, against, query, model, tokenizer)

    def similarity(self, other: Any, pooling: Any = "mean", *, model: Any = None) -> Any:
        """How alike two texts are to a sentence-embedding model: the cosine of their pooled last states, as the sum of what each part
        of this text's stream adds, with the norms and both lengths frozen.

        `other`: the Trace of the second text, by the same model.
        `pooling`: "mean" of all tokens, the "first" ([CLS]) or the "last".
        `model`: the one that was traced; needed where a trace was made without keep={"stream"}.

        Raises NotCaptured for a trace without its stream, CaptureError where a receipt fails, InputError for arguments that do not
        fit.
        """
        import attnscope

        return attnscope.api.similarity_of(self, other, pooling, model)

    def why(
        self, head: Any, query: Any, key: Any, *, layer: Any = None, stack: str | None = None, model: Any = None
    ) -> Any:
        """Why a head attends: scaling · q · k of one query and key, split exactly by where q and k come from: the embedding, earlier
        heads and MLPs, biases, on either side. Norms are frozen at their values. What follows (softcap, position bias) has rows of its
        own.

        `head`: a name such as "L2H8", or a number beside `layer`. `stack`: as for `site`.
        `query`, `key`: positions, or tokens as written.
        `model`: the one that was traced; needed where the trace was made without keep={"stream"}.

        Raises NotCaptured where q and k could not be followed, CaptureError where the table does not add up to the model's own score.
        """
        import attnscope

        return attnscope.api.why_of(self, layer, head, query, key, stack, model)

    def save(self, path: Any, projections: bool = False) -> None:
        """Write the trace to a file, whole or not at all; attnscope.load_trace reads it.

        `path`: of a .safetensors file. `projections`: True stores W_O and b_O too, so that `Site.write` works after
        loading. Raises OutputError where the file cannot be written.
        """
        import attnscope

        attnscope.api.save(self, path, projections=projections)

    def to_numpy(self) -> "dict[str, np.ndarray]":
        """Every kept tensor as fp32 numpy, named as in a file: {"s0.q": [H, Q, D], "s0.k": …}."""
        import attnscope

        return attnscope.api.arrays(self)

    def show(
        self,
        level: str = "head",
        *,
        layer: Any = None,
        head: Any = None,
        query: Any = None,
        key: Any = None,
        stack: str | None = None,
        theme: str = "auto",
        static: bool = False,
        max_mb: float = 12,
        steps: str = "head",
        exact: bool = False,
        heads: Sequence[int] = (),
        average: str = "none",
        queries: Sequence[int] = (),
        combine: str = "mean",
        threshold: float = 0.03,
        quantity: str = "weights",
        log: bool = False,
        words: bool = False,
        special: str | None = None,
        sort: str = "layer",
        thumbs: str = "matrix",
        filter: str = "all",
        dim: int | None = None,
        target: int | str | None = None,
        against: int | str | None = None,
        lens: bool = False,
        roles: Any = None,
        effects: Any = None,
    ) -> Any:
        """A View of this trace, which a notebook cell draws; `view.open()` and `view.save(path)` write it.

        Where it opens. What you leave out is chosen: a link between two different words that stands out. The view says
        why.

        `level`: "stream" (where the trace keeps it), "model", "head" (also "lines"), "matrix" (also "grid"), "neuron" or "steps".
        `layer`: a number from 0, -1 for the last, or a name such as "L2". `stack`: "encoder", "decoder" or "cross".
        `head`: a number from 0, or a name such as "L2H8", which names the layer too.
        `query`, `key`: a token's position, from 0, or the token as written.

        How it is shown:

        `theme`: "auto", "light" or "dark".
        `static`: True shows a page in a frame, which needs no kernel, and not the live widget.
        `max_mb`: the largest size of the numbers in a page, in MB.
        `exact`: True rounds nothing, as far as `max_mb` goes; otherwise views above 3 MB are rounded to fp16.
        `steps`: the heads whose x and projections the view holds, where the trace kept them: "head", "all" or "none".
        `heads`: numbers of heads drawn over each other beside `head`. `average`: the mean over the "heads" of the
            layer, over this head of all "layers", over "all" heads, or "none".
        `queries`: positions of queries selected beside `query`. `combine`: how their rows become one, "mean" or "sum".
        `threshold`: weights below it, from 0 to 1, are not drawn at the head level.
        `quantity`: what the matrix shows, "weights", "scores" or "dot" (q · k). `log`: True for a logarithmic scale.
        `words`: True draws the pieces of a word as one. `special`: "show" or "hide" special tokens; None hides
            them where silence stands behind a sound.
        `sort`: the order of the heads at the model level, "layer" or the name of a statistic. `thumbs`: their pictures,
            "matrix" or "lines".
        `filter`: of two texts, that of the query and then that of the keys shown: "aa", "ab", "ba", "bb" or "all".
        `dim`: the dimension, from 0, that the running dot product of the steps level has reached; None: the last.
        `target`, `against`: at the stream level, the token or label whose logit is added up, and the one whose logit is
            subtracted: as text, or an id; None: the two most probable. `lens`: True draws the lens of every position as a grid.
        `roles`: a RoleTable of attnscope.roles: the model level shows the roles that it claims, and sort="role" orders by them.
        `effects`: an EffectTable of attnscope.effects: the model level shows the heads that leave their band, and sort="effect" orders by the effect.

        Raises InputError for arguments that do not fit.
        """
        import attnscope

        chosen: Any = {} if special is None else {"special": special}
        return attnscope.api.show_trace(
            self,
            level=level,
            layer=layer,
            head=head,
            query=query,
            key=key,
            stack=stack,
            theme=theme,
            static=static,
            max_mb=max_mb,
            steps=steps,
            exact=exact,
            heads=heads,
            average=average,
            queries=queries,
            combine=combine,
            threshold=threshold,
            quantity=quantity,
            log=log,
            words=words,
            sort=sort,
            thumbs=thumbs,
            filter=filter,
            dim=dim,
            target=target,
            against=against,
            lens=lens,
            roles=roles,
            effects=effects,
            **chosen,
        )

    def plot(
        self,
        level: str = "head",
        ax: Any = None,
        *,
        width: float = 7.2,
        title: str | None = None,
        sums: bool = True,
        layer: Any = None,
        head: Any = None,
        query: Any = None,
        key: Any = None,
        stack: str | None = None,
        theme: str = "auto",
        static: bool = False,
        max_mb: float = 12,
        steps: str = "head",
        exact: bool = False,
        heads: Sequence[int] = (),
        average: str = "none",
        queries: Sequence[int] = (),
        combine: str = "mean",
        threshold: float = 0.03,
        quantity: str = "weights",
        log: bool = False,
        words: bool = False,
        special: str = "show",
        sort: str = "layer",
        thumbs: str = "matrix",
        filter: str = "all",
        dim: int | None = None,
        target: int | str | None = None,
        against: int | str | None = None,
        lens: bool = False,
        roles: Any = None,
    ) -> Any:
        """A level drawn with matplotlib; returns the axes, whose `child_axes` hold the parts.

        `ax`: matplotlib axes to draw in; None makes a figure. `width`: of that figure, in inches.
        `title`: yours in place of the line that names the place, "" for none. `sums`: whether a grid has bars of its sums
            at the edges.
        `level`, `layer`, `head`, `query`, `key`, `stack`, `theme`, `static`, `max_mb`, `steps`, `exact`, `heads`,
            `average`,
        `queries`, `combine`, `threshold`, `quantity`, `log`, `words`, `special`, `sort`, `thumbs`, `filter`, `dim`,
            `target`, `against`, `lens`, `roles`: as in `show`.

        Raises InputError for arguments that do not fit, and for axes that are too small; MissingDependency without
        matplotlib.
        """
        view = self.show(
            level,
            layer=layer,
            head=head,
            query=query,
            key=key,
            stack=stack,
            theme=theme,
            static=static,
            max_mb=max_mb,
            steps=steps,
            exact=exact,
            heads=heads,
            average=average,
            queries=queries,
            combine=combine,
            threshold=threshold,
            quantity=quantity,
            log=log,
            words=words,
            special=special,
            sort=sort,
            thumbs=thumbs,
            filter=filter,
            dim=dim,
            target=target,
            against=against,
            lens=lens,
            roles=roles,
        )
        return view.plot(ax, width=width, title=title, sums=sums)

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

    def replace_sites(self, sites: Sequence[Site]) -> "Trace":
        """The same trace with these `sites` instead."""
        return replace(self, sites=tuple(sites))
