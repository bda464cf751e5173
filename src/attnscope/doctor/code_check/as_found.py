"""What the report says "as found": the layout, the heads, and what the code adds to q · k by itself."""

import torch
from torch import nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.designs import Fixed
from attnscope.doctor.code_check.match.search import Fit
from attnscope.doctor.code_check.run.invocation import Own, Run

_ASKS = {
    "first": "its first token",
    "last": "its last token",
    "mean": "the mean of its tokens",
    "mean_too": "the mean of its tokens, which is a key as well",
}


def conventions(case: Case, fit: Fit, other: Run) -> None:
    """What was found of the code's own choices, for the report."""
    recipe, invocation, p = fit.recipe, fit.invocation, fit.invocation.projections
    found = case.conventions
    found["layout"] = invocation.layout
    if p is not None:
        groups = f", {p.kv_heads} key/value heads" if p.kv_heads != p.heads else ""
        layout = f", {p.layout}" if p.layout != "separate" else ""
        found["projections"] = f"{p.heads} heads{groups}, {p.found}{layout}"
    if other.reading.exchanged:
        found["output"] = "heads and tokens in the other order than they come in"
    if invocation.call.inputs > 1 and other.inputs[0].shape[-2] == other.inputs[1].shape[-2]:
        found["lengths"] = "queries and keys of one length only"
    if not invocation.patterned:
        found["causal"] = "yes" if recipe.causal else "no"
    if recipe.qk != "plain":
        length = {"l2": "to length 1", "rms": "to a mean square of 1", "layer": "to mean 0 and variance 1"}[recipe.qk]
        found["queries and keys"] = f"normalised {length}"
    elif p is not None and p.norms != (None, None):
        found["queries and keys"] = "normalised by its own norms"
    if recipe.scale == "one" and "queries and keys" in found:
        found["scale"] = "1, since queries and keys are normalised"
    elif recipe.scale == "one" and p is not None and p.bilinear and not fit.mistakes:
        found["scale"] = "1, which the one map may hold"
    if invocation.talk != (None, None):
        found["heads"] = "mixed by a map of its own"
    if invocation.relative is not None:
        parts = [name for name in ("keys", "values") if getattr(invocation.relative, name) is not None]
        found["positions"] = f"{' and '.join(parts)} of each distance, from tables of its own"
    if invocation.extra is not None:
        found["keys of its own"] = (
            f"{invocation.extra.keys.shape[2]} beside those of the tokens, which every query sees"
        )
    if p is not None and p.out is not None and p.out.twice:
        found["output"] = "its projection is applied twice"
    if invocation.finish is not None and invocation.finish.of_inputs:
        found["output"] = "a map of the attention's output and the query, side by side"
    elif invocation.finish is not None:
        found["output"] = "the projected queries are added to what the heads give, as in the Set Transformer"
        if recipe.scale == "model" and not any("scale" in mistake.change for mistake in fit.mistakes):
            found["scale"] = "1/√(heads · d), as in the Set Transformer's own code"
    if invocation.asks:
        found["queries"] = f"one for each text, {_ASKS[invocation.asks]}"
    if p is not None and p.merged != "joined":
        found["heads"] = "averaged" if p.merged == "mean" else "added up"
    if invocation.pairs is not None:
        less = ", ".join(dict.fromkeys(f"{float(x):.3g}" for x in invocation.pairs.less))
        found["weights"] = f"one softmax less λ times another, of each pair of heads; λ = {less}"
    if invocation.gate is not None:
        fixed = isinstance(invocation.gate, Fixed)
        found["gate"] = "on the heads' outputs, " + ("a parameter of its own" if fixed else "from the input")
    if recipe.scale == "own" and invocation.factors is not None:
        factors = dict.fromkeys(round(float(x), 4) for x in invocation.factors)
        found["scale"] = (
            ("cosines" if recipe.qk == "l2" else "q · k") + " times " + ", ".join(f"{x:.4g}" for x in factors)
        )
    if recipe.most:
        found["keys"] = (
            f"the {recipe.most:g} with the largest scores"
            if recipe.most >= 1
            else f"a share of {recipe.most:g}, the largest scores"
        )
    if recipe.features:
        found["weights"] = f"linear attention: products of features ({recipe.features}) in place of a softmax"
    if recipe.window:
        found["window"] = f"{recipe.window} keys"
    if recipe.rotary != "none":
        pairs = "halves" if recipe.rotary == "half" else "adjacent"
        dimensions = f", {recipe.turned} dimensions of each head" if recipe.turned else ""
        found["rotary"] = (
            f"{pairs if not fit.mistakes else recipe.rotary}, base {recipe.theta:g}{dimensions}{', backwards' * (recipe.signs == 'back')}"
        )


def _grows(own: Own) -> bool:
    """Whether the bias of every head grows with each step that a key is further back."""
    for head, seen in zip(own.bias, own.pattern.expand_as(own.bias), strict=True):
        last = head[-1][seen[-1]]  # of the last query, which sees them all
        if len(last) < 4 or not bool((last.diff() < -1e-6).all()):
            return False
    return True


def _scrambled(own: Own, module: nn.Module) -> bool:
    """Whether the numbers of a table with one for each head stand as [query, key, head] where [head, query, key] is meant: read so, each
    pair has a row of the table, and as they are used it has none."""
    if own.raw is None or len(own.raw) < 2:
        return False
    heads, queries, keys = own.raw.shape
    used = own.raw.flatten(1).T
    stored = own.raw.reshape(queries * keys, heads)
    for table in module.parameters():
        if table.ndim != 2 or table.shape[1] != heads or len(table) > 4096:
            continue
        rows = table.detach().float()
        found = [bool(((one[:, None] - rows).abs().amax(-1).amin(1) < 1e-4).all()) for one in (used, stored)]
        if found == [False, True]:
            return True
    return False


def of_its_own(case: Case, fit: Fit, run: Run) -> None:
    """A bias and a pattern that were measured: a convention, but for what no design explains."""
    invocation = fit.invocation
    queries, keys = run.inputs[0].shape[-2], run.inputs[1].shape[-2]
    own = invocation.own.at(queries, keys) if invocation.own else None
    if own is None:
        return
    if bool(own.bias.any()):
        by_head = len(own.bias) > 1 and not torch.equal(own.bias[0], own.bias[-1])
        kind = f"depends on the distance i - j{' and the head' * by_head}"
        kind = kind if own.along_diagonals else "is fixed, a number for each pair of positions"
        case.conventions["position bias"] = f"its own; {kind}"
        if own.along_diagonals and queries == keys and _grows(own):
            case.find("position-bias-grows", most=float(own.bias.max() - own.bias.min()))
        if not own.along_diagonals and isinstance(invocation.fn, nn.Module) and _scrambled(own, invocation.fn):
            case.find("position-bias-scrambled", heads=len(own.bias), queries=queries, keys=keys)
    if not invocation.patterned:
        return
    pattern = own.pattern[0]
    reach = [n for n in range(2 - queries, keys - 1) if torch.equal(pattern, torch.ones_like(pattern).tril(n))]
    if reach:
        far = reach[0]
        if far:
            sees = f"sees the next {far}" if far > 0 else f"misses its last {-far}"
            case.find("causal-off", sees=sees, shift=far)
        return
    future = bool(pattern.triu(1).any())
    count = f"{int(pattern.sum())} of {pattern.numel()} pairs may look"
    case.conventions["pattern"] = f"its own; {count}" + ("" if future else ", none ahead")
    if future and case.causal:
        query, key = pattern.triu(1).nonzero()[0].tolist()
        case.find("sees-the-future", evidence=f"query {query} sees key {key}")
    empty = (~pattern).all(-1).nonzero().flatten().tolist()
    if empty:
        case.find("pattern-empty-row", queries=empty)
    unseen = (~pattern).all(0).nonzero().flatten().tolist()
    if unseen and not empty and queries == keys:
        case.find("pattern-unseen-key", keys=" and ".join(map(str, unseen)))
