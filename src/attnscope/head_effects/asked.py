"""A text and what is asked of it, as passes: one of the text where target and alternative are single tokens, else one of the text with each continuation."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing.listen.facts import Facts
from attnscope.editing.addresses import Addresses
from attnscope.editing.desk import DESK
from attnscope.editing.measure import Question, answers, continued, masked_at, question_of, repeated, rows_at_once, run
from attnscope.editing.receipt import Receipts
from attnscope.editing.session import ModelSession
from attnscope.errors import InputError
from attnscope.head_effects.blocks import Kept, from_block, keeping
from attnscope.models.encoding import accepts
from attnscope.models.inputs import prepare
from attnscope.tracing.receipts import tolerance_of

TRIED = 8  # tokens on which it is tried whether a model looks ahead


@dataclass(eq=False)
class Watched:
    """A model whose heads are asked about. `blocks`: its blocks; empty where whole passes are run."""

    model: nn.Module
    tokenizer: Any
    facts: Facts
    addresses: Addresses
    blocks: Sequence[nn.Module]

    @property
    def dtype(self) -> torch.dtype:
        """Of its parameters."""
        return next((one.dtype for one in self.model.parameters()), torch.float32)


@dataclass(frozen=True)
class OwnTokens:
    """The target is the text itself: the mean log-probability of its tokens, each given those before it. `first`: the position of the first that counts."""

    first: int = 1


@dataclass(eq=False)
class Reading:
    """One pass. `inputs`: of one row. `ids`: the tokens whose log-probability counts, times `factor`; None: the score of the question. `behind`: how many
    positions there are behind those whose logits count. `length`: of the text before a continuation. `kept`: of the pass without edits."""

    inputs: Mapping[str, Any]
    ids: tuple[int, ...] | None = None
    factor: float = 1.0
    behind: int = 0
    length: int | None = None
    kept: Kept | None = None

    def sum_of(self, logits: Float[Tensor, "R T V"]) -> Float[Tensor, " R"]:
        """factor · Σ log p of the ids, each at the position before it."""
        assert self.ids is not None
        end = logits.shape[1] - self.behind
        wanted = torch.tensor(self.ids, device=logits.device)
        rows = logits[:, end - len(wanted) : end].float()
        own = rows.gather(2, wanted.expand(len(rows), -1)[..., None])[..., 0]
        return self.factor * (own - rows.logsumexp(-1)).sum(1).cpu()


@dataclass(eq=False)
class Asked:
    """What is asked of one text. `question`: None where it is asked for its own tokens. `clean`: the score without edits. `sizes`: heads and key/value heads by
    stack and layer."""

    question: Question | None
    readings: list[Reading]
    clean: float = 0.0
    sizes: Mapping[tuple[str | None, int], tuple[int, int]] | None = None

    @property
    def measure(self) -> str:
        """The score, in words."""
        return "mean log-probability" if self.question is None else self.question.measure

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the target."""
        return () if self.question is None else self.question.notes

    @property
    def rows(self) -> int:
        """How many rows may run at once."""
        return rows_at_once(self.readings[0].inputs)


def ask(watched: Watched, text: Any, target: Any, against: Any) -> Asked:
    """Read a text once (and once with each continuation) without edits, and keep what its blocks return.

    Raises InputError as `Edit.effect` does.
    """
    model, tokenizer = watched.model, watched.tokenizer
    given = isinstance(text, Mapping)
    prepared = prepare(model, tokenizer, text=None if given else text, inputs=text if given else None)
    if isinstance(target, OwnTokens):
        return _own(watched, prepared.inputs, target.first)
    first = first_reading(watched, prepared.inputs)
    outputs, sizes = keep_reading(watched, first)
    question = question_of(model, tokenizer, prepared.inputs, outputs, target, against)
    asked = Asked(question, [first], sizes=sizes)
    if max(len(question.target), len(question.against)) > 1:
        asked.readings = []
        for ids, sign in ((question.target, 1.0), (question.against, -1.0)):
            if ids:
                longer = continued(prepared.inputs, ids[:-1], question.decoder) if len(ids) > 1 else prepared.inputs
                inputs = with_last_logits(model, longer, len(ids))
                reading = Reading(inputs, ids, sign, 0, _length(prepared.inputs, question.decoder))
                made, _ = keep_reading(watched, reading)
                asked.readings.append(reading)
                asked.clean += float(reading.sum_of(made.logits)[0])
    else:
        asked.clean = float(answers(model, first.inputs, question, outputs).score[0])
    return asked


def first_reading(watched: Watched, inputs: Mapping[str, Any]) -> Reading:
    """The pass of a text whose prediction stands at its end, or at its [MASK]: then the model makes the logits of all positions."""
    model = watched.model
    decoder = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    fills = not decoder and masked_at(watched.tokenizer, inputs) is not None
    return Reading(dict(inputs) if fills else with_last_logits(model, inputs, 1))


def _own(watched: Watched, inputs: Mapping[str, Any], first: int) -> Asked:
    """The text itself is the target, from position `first` on. Raises InputError where it cannot be."""
    model, ids = watched.model, inputs.get("input_ids")
    if not isinstance(ids, Tensor) or not reads_left_to_right(model, inputs):
        raise InputError(
            f"{type(model).__name__} does not predict each token of a text from those before it, so the text itself is no target: give one, such as "
            'target=" Mary", or load a causal model, such as AutoModelForCausalLM.'
        )
    wanted = ids[0, first:].tolist()
    if not wanted:
        raise InputError(
            f"the text has {ids.shape[1]} token, and nothing comes after it: give a longer text, or a target."
        )
    reading = Reading(with_last_logits(model, inputs, len(wanted) + 1), tuple(wanted), 1 / len(wanted), 1)
    made, sizes = keep_reading(watched, reading)
    return Asked(None, [reading], float(reading.sum_of(made.logits)[0]), sizes)


def reads_left_to_right(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    """Whether the model gives logits for every position, of which none changes with a later token: tried on a text of one row."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return False
    ids = inputs["input_ids"][:, :TRIED]
    longer = {
        name: value[:, :TRIED] if isinstance(value, Tensor) and value.ndim == 2 else value
        for name, value in inputs.items()
    }
    other = {**longer, "input_ids": torch.cat([ids[:, :-1], torch.where(ids[:, -1:] > 0, ids[:, -1:] - 1, 1)], 1)}
    one, two = (
        getattr(run(model, {**given, "input_ids": x}), "logits", None)
        for given, x in ((longer, ids), (other, other["input_ids"]))
    )
    if not isinstance(one, Tensor) or not isinstance(two, Tensor) or one.ndim != 3 or one.shape[1] != ids.shape[1]:
        return False
    return torch.allclose(one[:, :-1].float(), two[:, :-1].float(), atol=1e-3 * max(1.0, float(one.abs().max())))


def scores(watched: Watched, asked: Asked, first: int, rows: int) -> Float[Tensor, " R"]:
    """The score in each of `rows` equal rows, from the block on that runs as number `first`; edits hold that are open."""
    total = torch.zeros(rows)
    for reading in asked.readings:
        logits = outputs_of(watched, reading, first, rows).logits
        if asked.question is not None and reading.ids is None:
            total = total + answers(watched.model, reading.inputs, asked.question, _Logits(logits)).score.cpu()
        else:
            total = total + reading.sum_of(logits)
    return total


@dataclass(frozen=True)
class _Logits:
    """What `answers` reads of a model's output."""

    logits: Tensor


def outputs_of(watched: Watched, reading: Reading, first: int, rows: int) -> Any:
    """What the model returns for a batch of `rows` equal rows, from a block on; edits hold that are open."""
    inputs = repeated(reading.inputs, rows) if rows > 1 else dict(reading.inputs)
    assert inputs is not None
    assert reading.kept is not None
    behind = nullcontext() if reading.length is None else DESK.goes_on_behind(reading.length)
    with behind, from_block(reading.kept, first, rows):
        return run(watched.model, inputs)


def starts_in_the_middle(watched: Watched, reading: Reading, rows: int, outputs: Any = None) -> bool:
    """Whether passes that begin at a block give what a whole one gives, tried without an edit: from the middle, and of the last block alone, with up to 2 `rows`. Where
    not, nothing of this reading is kept and whole passes are run from now on. `outputs`: of a whole pass, where it ran already."""
    assert reading.kept is not None
    runs = len(reading.kept.runs)
    whole = _told(outputs_of(watched, reading, 0, 1) if outputs is None else outputs)
    largest = float(whole.abs().max())
    for first in sorted({runs // 2, runs - 1} - {0, -1}):
        try:
            error = float((_told(outputs_of(watched, reading, first, min(2, rows))) - whole).abs().max())
        except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError):
            error = math.inf
        if not error <= tolerance_of(watched.dtype) * max(largest, 1e-30):
            watched.blocks, reading.kept = [], type(reading.kept)([], reading.kept.calls)
            return False
    return bool(runs)


def _told(outputs: Any) -> Float[Tensor, "..."]:
    """The logits, or the last state of a model that has none."""
    logits = getattr(outputs, "logits", None)
    return (outputs.last_hidden_state if logits is None else logits).detach().float()


def keep_reading(watched: Watched, reading: Reading) -> tuple[Any, Mapping[tuple[str | None, int], tuple[int, int]]]:
    """Run a reading once without edits; what it returned, and the heads that ran."""
    receipts = Receipts()
    session = ModelSession(watched.model, watched.facts, watched.addresses, (), watched.tokenizer, receipts)
    with keeping(watched.model, watched.blocks, lambda: session.order) as kept:
        session.open()
        try:
            outputs = run(watched.model, reading.inputs)
        finally:
            session.close()
    reading.kept = kept
    return outputs, receipts.sizes


def _length(inputs: Mapping[str, Any], decoder: bool) -> int:
    return inputs["decoder_input_ids" if decoder else "input_ids"].shape[1]


def with_last_logits(model: nn.Module, inputs: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The inputs, with the wish for logits of the last `count` positions alone where the model can have it."""
    asked = accepts(model, "logits_to_keep") and not accepts(model, "an argument of no model")
    return {**inputs, **({"logits_to_keep": count} if asked else {})}
