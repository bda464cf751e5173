"""What you can ask of a trace: statistics of its heads, what the model predicted, and what made it.

Rooms above this one answer, so each method goes through the door: `import attnscope` inside it.
"""

from typing import Any


class Questions:
    """The questions of a Trace, its base class; `self` is the Trace."""

    def statistics(self: Any, names: Any = None, model: Any = None) -> Any:
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

    def groups(
        self: Any,
        query: Any = "answer",
        heads: Any = None,
        kind: Any = None,
        special: str = "hide",
        *,
        stack: str | None = None,
        model: Any = None,
        tokenizer: Any = None,
        control: int = 0,
        seed: int = 0,
    ) -> Any:
        """How much a query looks at each group of the text (`tokens.groups`): a GroupTable with the weight, what an even spread would give, the
        ratio of the two, and the share of the output. docs/groups.md explains them.

        `query`: a position, a token as written, the name of a group, a slice, or several of these, whose means are shown. "answer": the tokens from
            which the generated answer was written, or the last token, from which one would be.
        `heads`: None: the mean over all heads; "all", or names such as "L18H6": a row for each head and group.
        `kind`: of the groups that are shown, such as "message", "document" or "sentence", one or several; None: all.
        `special`: "hide" counts special and sink tokens in no group, but in a row of their own; "show" counts them in their groups.
        `stack`: where there are several; None: the cross attention.
        `model`, `tokenizer`: the traced ones; each group is then cut as well, and the answer's log-probability asked again: one run for each group.
        `control`: how many passages of as many other tokens are cut for each group: the band. `seed`: of their draw.

        Raises InputError for what does not fit, and where the text has no groups; NotCaptured where a cut needs inputs that the trace does not have.
        """
        import attnscope

        return attnscope.api.groups_of(self, query, heads, kind, special, stack, model, tokenizer, control, seed)

    def to_frame(self: Any, layer: Any = None, head: Any = None, stack: str | None = None) -> Any:
        """The weights as a pandas DataFrame: a row for each head, query and key that the query may see, with the columns stack, layer, head, query,
        key, query_token, key_token and weight. Positions count from 0 through the text.

        `layer`, `head`, `stack`: which ones, as in `site`; None: all. Raises InputError for those that are not there and for more than ten million
        weights, MissingDependency without pandas.
        """
        import attnscope

        return attnscope.api.weights_frame(self, layer, head, stack)

    def predictions(self: Any, query: Any = -1, top: Any = 10, *, model: Any = None, tokenizer: Any = None) -> Any:
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
        self: Any, query: Any = None, layer: Any = None, top: Any = 5, *, model: Any = None, tokenizer: Any = None
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
        self: Any, target: Any, against: Any = None, query: Any = -1, *, model: Any = None, tokenizer: Any = None
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

    def similarity(self: Any, other: Any, pooling: Any = "mean", *, model: Any = None) -> Any:
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
        self: Any, head: Any, query: Any, key: Any, *, layer: Any = None, stack: str | None = None, model: Any = None
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
