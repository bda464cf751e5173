"""Whether code that no recipe explains is another kind of attention: then it is not compared, and not accused of being another."""

import re

import torch

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.measured_bias import scores_seen
from attnscope.doctor.code_check.run.invocation import Invocation, Run

_BENT = 1e-3  # of the spread of the scores
_CHOOSING = {"topk", "sort", "argsort", "kthvalue", "multinomial"}


def another_kind(case: Case, invocation: Invocation, run: Run, other: Run | None = None) -> str:
    """Why it is no softmax over q · k, in words; empty where it may be one. `other`: a run with another number of tokens."""
    seen = run.reading.outcome.seen
    whole = seen.names & {"scaled_dot_product_attention", "multi_head_attention_forward"}
    if not whole and not seen.exponents and not re.search(r"exp|softmax", case.text):
        return "it takes no softmax and no exponential"
    if chosen := sorted(seen.names & _CHOOSING):
        return "it chooses keys by their numbers: " + ", ".join(chosen)
    if not whole and seen.exponents and not any(_of_pairs(case, shape, invocation, run) for shape in seen.exponents):
        return "no softmax in it runs over the scores of queries and keys"
    if not whole and seen.exponents and other is not None and _of_channels(invocation, run, other):
        return "its softmax runs over the channels of a head, not over tokens"
    if (
        not re.search(r"norm|cosine", case.text, re.IGNORECASE)
        and case.base.softcap is None
        and _bent(case, invocation, run)
    ):
        return "its scores are no multiples of the queries, as q · k is"
    return ""


def _of_pairs(case: Case, shape: tuple[int, ...], invocation: Invocation, run: Run) -> bool:
    """Whether numbers of this shape may be the scores of queries and keys, or of some of them."""
    queries, keys = (x.shape[-2] for x in run.inputs[:2])
    rest = list(shape)
    every = all(n in rest and (rest.remove(n) or True) for n in (queries, keys))
    last = shape[-1] if shape else 0
    flat = any(n >= queries * keys for n in shape)
    of_tokens = len(shape) > 1 and shape[-2] in (queries, keys)  # not where a loop takes one query at a time
    beside = of_tokens and keys < last  # keys of its own beside those of the tokens
    some = 1 < last <= keys + 1
    blocks = len({one[-1:] for one in run.reading.outcome.seen.exponents}) > 1  # 7 keys come in no blocks of one size
    if every or (some and (blocks or not of_tokens)):
        return True
    return (flat or beside or some) and _grows(case, shape, invocation, run)


def _grows(case: Case, shape: tuple[int, ...], invocation: Invocation, run: Run) -> bool:
    """Whether each token has more numbers where there are two more keys: a kernel's features stay as many. True where no run shows it."""
    queries, keys = (x.shape[-2] for x in run.inputs[:2])
    for more in (2,) if invocation.call.inputs == 1 else (0, 2):  # causal code may take as many queries as keys only
        other = invocation.probe(invocation.inputs("longer", queries + more, keys + 2), seed=13, **case.options)
        longer = [x.shape[-2] for x in other.inputs[:2]]
        if other.reading.output is not None and longer[1] != keys:
            same = {
                tuple(to if n == old else n for n in shape) for old, to in zip((queries, keys), longer, strict=True)
            }
            return not same & other.reading.outcome.seen.exponents
    return True


def _of_channels(invocation: Invocation, run: Run, other: Run) -> bool:
    """Whether texts of another length, the `other` run, gave the softmax just as many numbers, size × size of each head."""
    p, shapes = invocation.projections, run.reading.outcome.seen.exponents
    lengths = {x.shape[-2] for r in (run, other) for x in r.inputs[:2]}
    size = p.query.weight.shape[1] // p.heads if p is not None else invocation.size
    square = all(shape[-2:] == (size, size) and size not in lengths for shape in shapes)
    return square and len(lengths) > 1 and shapes == other.reading.outcome.seen.exponents


def _bent(case: Case, invocation: Invocation, run: Run) -> bool:
    """Whether the scores that enter the softmax are no straight line in the queries of a function."""
    if invocation.call.inputs == 1 or invocation.projections is not None:
        return False
    inputs, found = run.inputs, []
    for times in (1.0, 2.0, 3.0):
        reading = invocation.run((inputs[0] * times, *inputs[1:]), seed=11, **case.options)
        shape = (inputs[0].shape[0], invocation.heads, inputs[0].shape[-2], inputs[1].shape[-2])
        seen = scores_seen(reading, *shape) if reading.output is not None else None
        if seen is None:
            return False
        found.append(seen)
    known = torch.stack([x > -1e3 for x in found]).all(0)
    one, two, three = (x[known] for x in found)
    if one.numel() < 4:
        return False
    return bool((one - 2 * two + three).abs().max() > _BENT * two.std().clamp_min(1e-6))
