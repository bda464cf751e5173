"""What a model wrote from a query, and how sure it was."""

from attnscope.text.format import percent
from attnscope.views.view import View


def chance(view: View) -> str:
    """The token that was generated from the query, its probability and rank, and what came second; "" where none was."""
    tokens = view.trace.query_tokens(view.trace.sites[view.site_index])
    after = view.own.query + 1
    own = tokens.probability[after] if after < len(tokens.probability) else None
    if own is None:
        return ""
    said = f"From “{tokens.shown[after - 1]}” the model wrote “{tokens.shown[after]}”, with a probability of {percent(own)}"
    if tokens.rank:
        said += f" (rank {tokens.rank[after]})"
    if (second := tokens.runner_up[after]) is None:
        return f"{said}."
    other, most = second
    return f"{said}; “{other}” {'was more probable' if most > own else 'came second'}, with {percent(most)}."
