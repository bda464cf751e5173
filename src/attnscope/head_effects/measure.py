"""effects(): each head in turn switched off, over one or many texts."""

import math
from typing import Any

from attnscope.capturing.refusals import check_model, no_attention
from attnscope.editing.addresses import Addresses
from attnscope.editing.effect import SAME
from attnscope.editing.means import mean_of
from attnscope.editing.rules import Put, Times
from attnscope.errors import CaptureError, InputError
from attnscope.head_effects.asked import Watched
from attnscope.head_effects.blocks import blocks_of
from attnscope.head_effects.cases import cases_of, key_of
from attnscope.head_effects.edges import CUT, edges_of
from attnscope.head_effects.run import Run, gradients, one_by_one
from attnscope.head_effects.table import EffectTable
from attnscope.head_effects.units import EACH
from attnscope.tracing.held import open_held
from attnscope.tracing.modules import model_name
from attnscope.tracing.places import check_flag, is_number, parse_layers

NOT_USUAL = (
    'Zero is no output that these heads have in any text, so it takes the model out of its distribution; how="mean" asks what a head adds to what it always writes.',
)


def effects(
    model: Any,
    tokenizer: Any = None,
    texts: Any = None,
    target: Any = None,
    against: Any = None,
    *,
    how: str | float = "mean",
    over: Any = None,
    by: str = "all",
    each: str = "head",
    query: Any = -1,
    key: Any = None,
    layers: Any = None,
    stack: str | None = None,
    approximate: Any = False,
    top: int = 10,
    resume: Any = None,
    quiet: bool = False,
) -> EffectTable:
    """What each head of a model does to a prediction: every head in turn is edited, and the effect measured as `Edit.effect` does.

    An effect is clean − edited: positive where the head pushes to the target. Beside it stands the band: what the same edit does in the other heads of
    the layer. A pass begins at the edited layer, for a batch of heads at a time, so the whole costs about half of heads × one forward pass.

    - `model`, `tokenizer`: as in attnscope.trace; the model has a head to predict with.
    - `texts`: a text, or several; each may be (text, target) or (text, target, against), or a mapping of inputs of one row.
    - `target`: the prediction that is asked about, as a text (" Mary"), an id or a label; a list of as many as there are texts: one for each. `against`:
      the alternative, likewise; None: the log-probability of the target alone. No target: the text itself, the mean log-probability of its tokens, of
      causal models.
    - `how`: "mean" puts the mean of what the head writes in its place, "off" nothing (zero), a number multiplies what it writes. Each asks another
      question. `over`: the texts to take the mean of; None: the same texts. `by`: "all" takes one mean over all tokens, "position" one for each.
    - `each`: what is edited in turn: "head", "group" (heads that share keys and values), "layer" (all its heads) or "edge".
    - `query`, `key`: of edges. An edge goes from the query to one key, and is cut in all heads of one layer (score −inf before the softmax: attention
      knockout, Geva et al. 2023); the other keys share its weight. `query`: a position, a token as written or the name of a group (attnscope.Trace.tokens.groups); `key`: one
      or several of these, each an edge; None: every token of a single text, up to the query where the model is causal. At most 4,096 edges.
    - `layers`: which layers, numbers or names; None: all. `stack`: "encoder", "decoder", "cross" or a tower's name; None: all.
    - `approximate`: True takes the gradient of the score in the place of an edit of each head: the effects of all heads to first order, from one pass forward and one
      back a text (attribution patching, Nanda 2023). The `top` largest are measured exactly too, and the table says how far off the gradient is.
    - `resume`: a table that was stopped, of the same call: what it has is not measured again. Ctrl-C stops; the table has what was done.
    - `quiet`: True shows no progress on stderr.

    Raises InputError for what does not fit, and as `Edit.effect` does; CaptureError for a compiled model or one without attention, and where an edit
    does not pass its receipt.
    """
    watched = watch(model, tokenizer)
    cases = cases_of(texts, target, against)
    if each not in EACH:
        raise InputError(f"expected each as {', '.join(map(repr, EACH))}, got {each!r:.40}.")
    check_flag("approximate", approximate)
    chosen = None if layers is None else tuple(parse_layers(layers) or ())
    edges = edges_of(watched, cases, query, key, chosen, stack) if each == "edge" else ()
    if edges and (how != "mean" or over is not None or by != "all" or approximate):
        raise InputError("an edge is cut, and nothing takes its place: leave how=, over=, by= and approximate= out.")
    if each != "edge" and (key is not None or query != -1):
        raise InputError('query= and key= name the ends of edges: give each="edge" with them.')
    if not is_number(top) or top < 0:
        raise InputError(f"expected top as a whole number from 0, got {top!r:.40}.")
    change = CUT if edges else change_of(watched, how, over if over is not None else [text for text, *_ in cases], by)
    name = model_name(watched.model)
    key = key_of(name, cases, change.reference, (each, chosen, stack, bool(approximate), *edges))
    run = Run(watched, cases, change, each, chosen, stack, quiet, edges)
    run.resume(resume, key)
    run.measure(gradients if approximate else one_by_one)
    exact = run.exact_of(int(top)) if approximate and not run.stopped else {}
    first = cases[0][0]
    alone = len(cases) == 1 and isinstance(first, str) and (over is None or over in (first, [first]))
    itself = not edges and how == "mean" and by == "position" and alone
    notes = (*run.notes, *(NOT_USUAL if how == "off" else ()), *((SAME,) if itself else ()))
    return run.table(name, change.reference, exact=exact, approximate=bool(approximate), notes=notes, key=key)


def watch(model: Any, tokenizer: Any) -> Watched:
    """A model, with what is looked up in it once. Raises CaptureError where it has no heads."""
    held = open_held(model, tokenizer)
    facts = check_model(held.model)
    if not facts.may_attend:
        raise CaptureError(f"{type(held.model).__name__} has no heads to edit: {no_attention(held.model)}")
    addresses = Addresses(held.model)
    return Watched(held.model, held.reader, facts, addresses, blocks_of(held.model, addresses.paths))


def change_of(watched: Watched, how: Any, over: Any, by: str) -> Times | Put:
    """What is put in the place of what a head writes. Raises InputError for what is no such thing."""
    if how == "mean":
        return Put("z", *mean_of(watched.model, watched.tokenizer, over, by), exact=False)
    if how == "off":
        return Times(0.0)
    if isinstance(how, bool) or not isinstance(how, (int, float)) or not math.isfinite(how) or how == 1:
        raise InputError(
            f'expected how as "mean", "off" or a number that what a head writes is multiplied with, not 1; got {how!r:.40}.'
        )
    return Times(float(how))
