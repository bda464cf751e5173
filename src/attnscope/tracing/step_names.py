"""What the steps of the chain are called: in `Site.steps`, in a payload, on the page and in figures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepName:
    """One step. number: its place on the page. symbol: its result in a formula. title: what is done, as a heading."""

    name: str
    number: str
    symbol: str
    title: str


STEP_NAMES = {
    one.name: one
    for one in (
        StepName("x", "1", "x", "x"),
        StepName("query", "2", "q", "q"),
        StepName("query_norm", "2a", "q", "norm"),
        StepName("query_rotary", "2b", "q", "rotary embedding"),
        StepName("keys", "3", "k", "k"),
        StepName("key_norm", "3a", "k", "norm"),
        StepName("key_rotary", "3b", "k", "rotary embedding"),
        StepName("values", "3c", "v", "v"),
        StepName("products", "4", "q × k", "q × k"),
        StepName("dot", "5", "q · k", "q · k"),
        StepName("scaled", "6", "scaled", "scaling"),
        StepName("capped", "7", "capped", "softcap"),
        StepName("biased", "8", "biased", "position bias"),
        StepName("masked", "9", "score", "mask"),
        StepName("weights", "10", "weight", "softmax"),
        StepName("output", "11", "z", "z"),
        StepName("write", "12", "z · W_O", "write"),
        StepName("heads", "13", "Σ write", "sum of heads"),
        StepName("residual", "14", "x", "residual"),
        StepName("mlp", "15", "x", "MLP"),
        StepName("later", "16", "x", "later layers"),
        StepName("norm", "17", "norm(x)", "final norm"),
        StepName("logits", "18", "logit", "logits"),
    )
}


def in_payload() -> dict[str, list[str]]:
    """By name: number, symbol and title, as a payload carries them."""
    return {name: [one.number, one.symbol, one.title] for name, one in STEP_NAMES.items()}
