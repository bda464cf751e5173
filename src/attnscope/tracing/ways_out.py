"""The ways out of a trace: files, arrays, views and figures.

Rooms above this one make them, so each method goes through the door: `import attnscope` inside it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class WaysOut:
    """The ways out of a Trace, its base class; `self` is the Trace."""

    def save(self: Any, path: Any, projections: bool = False) -> None:
        """Write the trace to a file, whole or not at all; attnscope.load_trace reads it.

        `path`: of a .safetensors file. `projections`: True stores W_O and b_O too, so that `Site.write` works after
        loading. Raises OutputError where the file cannot be written.
        """
        import attnscope

        attnscope.api.save(self, path, projections=projections)

    def to_numpy(self: Any) -> "dict[str, np.ndarray]":
        """Every kept tensor as fp32 numpy, named as in a file: {"s0.q": [H, Q, D], "s0.k": …}."""
        import attnscope

        return attnscope.api.arrays(self)

    def show(
        self: Any,
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
        group: int | str | None = None,
        pooled: bool = False,
        special: str | None = None,
        sort: str = "layer",
        thumbs: str = "matrix",
        filter: str = "all",
        dim: int | None = None,
        target: int | str | None = None,
        against: int | str | None = None,
        edits: Sequence[str] = (),
        lens: bool = False,
        roles: Any = None,
        effects: Any = None,
        model: Any = None,
        tokenizer: Any = None,
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
        `group`: the group of tokens that is looked at, by name or number. `pooled`: True draws each group as one, but for that one.
        `sort`: the order of the heads at the model level, "layer" or the name of a statistic. `thumbs`: their pictures,
            "matrix" or "lines".
        `filter`: of two texts, that of the query and then that of the keys shown: "aa", "ab", "ba", "bb" or "all".
        `dim`: the dimension, from 0, that the running dot product of the steps level has reached; None: the last.
        `target`, `against`: at the stream level, the token or label whose logit is added up, and the one whose logit is
            subtracted: as text, or an id; None: the two most probable. `lens`: True draws the lens of every position as a grid.
        `roles`: a RoleTable of attnscope.roles: the model level shows the roles that it claims, and sort="role" orders by them.
        `effects`: an EffectTable of attnscope.effects: the model level shows the heads that leave their band, and sort="effect" orders by the effect.
        `model`, `tokenizer`: those that were traced, so that the live widget can edit heads; `edits`: edits that hold at first, such as "off_L2H8".

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
            group=group,
            pooled=pooled,
            sort=sort,
            thumbs=thumbs,
            filter=filter,
            dim=dim,
            target=target,
            against=against,
            edits=edits,
            lens=lens,
            roles=roles,
            effects=effects,
            model=model,
            tokenizer=tokenizer,
            **chosen,
        )

    def plot(
        self: Any,
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
        group: int | str | None = None,
        pooled: bool = False,
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
        `queries`, `combine`, `threshold`, `quantity`, `log`, `words`, `group`, `pooled`, `special`, `sort`, `thumbs`, `filter`, `dim`,
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
            group=group,
            pooled=pooled,
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

    def _repr_mimebundle_(self: Any, **kwargs: Any) -> Any:
        return self.show()._repr_mimebundle_(**kwargs)
