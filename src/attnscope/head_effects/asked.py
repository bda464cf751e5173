"""A text and what is asked of it, as passes: one of the text where target and alternative are single tokens, else one of the text with each continuation."""

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
from attnscope.editing.measure import Question, answers, continued, question_of, repeated, run
from attnscope.editing.receipt import Receipts
from attnscope.editing.session import ModelSession
from attnscope.head_effects.blocks import Kept, from_block, keeping
from attnscope.models.encoding import accepts
from attnscope.models.inputs import prepare

TOKENS_AT_ONCE = 2048  # of a batch of rows


@dataclass(eq=False)
class Watched:
    """A model whose heads are asked about. `blocks`: its blocks; empty where whole passes are run."""

    model: nn.Module
    tokenizer: Any
    facts: Facts
    addresses: Addresses
    blocks: Sequence[nn.Module]


@dataclass(eq=False)
class Reading:
    """One pass. `inputs`: of one row. `ids`: the continuation whose log-probability counts; None: the score of the question. `sign`: with which
    it counts. `length`: of the text before the continuation. `kept`: of the pass without edits."""

    inputs: Mapping[str, Any]
    ids: tuple[int, ...] | None = None
    sign: float = 1.0
    length: int | None = None
    kept: Kept | None = None


@dataclass(eq=False)
class Asked:
    """What is asked of one text. `clean`: the score without edits. `sizes`: heads and key/value heads by stack and layer. `tokens`: of the text."""

    question: Question
    readings: list[Reading]
    clean: float = 0.0
    sizes: Mapping[tuple[str | None, int], tuple[int, int]] | None = None
    logits: Tensor | None = None

    @property
    def rows(self) -> int:
        """How many rows may run at once."""
        inputs = self.readings[0].inputs
        ids = inputs.get("input_ids")
        if repeated(inputs, 2) is None or not isinstance(ids, Tensor):
            return 1
        return max(1, TOKENS_AT_ONCE // ids.shape[1])


def ask(watched: Watched, text: Any, target: Any, against: Any) -> Asked:
    """Read a text once (and once with each continuation) without edits, and keep what its blocks return.

    Raises InputError as `Edit.effect` does.
    """
    model, tokenizer = watched.model, watched.tokenizer
    given = {"inputs": text} if isinstance(text, Mapping) else {"text": text}
    names = ("text", "text_pair", "text_target", "messages", "inputs")
    prepared = prepare(model, tokenizer, **{**dict.fromkeys(names), **given}, generate=0, truncate=False)
    first = Reading(_last_logits(model, prepared.inputs, 1) if _reads_on(model) else prepared.inputs)
    outputs, sizes = _keep(watched, first)
    question = question_of(model, tokenizer, prepared.inputs, outputs, target, against)
    if question.at is not None and "logits_to_keep" in first.inputs:
        first.inputs = prepared.inputs
        outputs, sizes = _keep(watched, first)
    asked = Asked(question, [first], sizes=sizes)
    if max(len(question.target), len(question.against)) > 1:
        asked.readings = []
        for ids, sign in ((question.target, 1.0), (question.against, -1.0)):
            if ids:
                longer = continued(prepared.inputs, ids[:-1], question.decoder) if len(ids) > 1 else prepared.inputs
                inputs = _last_logits(model, longer, len(ids)) if _reads_on(model) else longer
                reading = Reading(inputs, ids, sign, _length(prepared.inputs, question.decoder))
                made, _ = _keep(watched, reading)
                asked.readings.append(reading)
                asked.clean += sign * float(_of_continuation(made.logits, ids)[0])
    else:
        asked.clean = float(answers(model, first.inputs, question, outputs).score[0])
    asked.logits = outputs.logits.detach()
    return asked


def scores(watched: Watched, asked: Asked, first: int, rows: int) -> Float[Tensor, " R"]:
    """The score in each of `rows` equal rows, from the block on that runs as number `first`; edits hold that are open."""
    total = torch.zeros(rows)
    for reading in asked.readings:
        logits = logits_of(watched, reading, first, rows)
        if reading.ids is None:
            total = total + _score(watched, asked, reading, logits).cpu()
        else:
            total = total + reading.sign * _of_continuation(logits, reading.ids).cpu()
    return total


def _score(watched: Watched, asked: Asked, reading: Reading, logits: Tensor) -> Float[Tensor, " R"]:
    return answers(watched.model, reading.inputs, asked.question, _Logits(logits)).score


@dataclass(frozen=True)
class _Logits:
    """What `answers` reads of a model's output."""

    logits: Tensor


def logits_of(watched: Watched, reading: Reading, first: int, rows: int) -> Tensor:
    """The logits of a batch of `rows` equal rows, from a block on."""
    inputs = repeated(reading.inputs, rows) if rows > 1 else dict(reading.inputs)
    assert inputs is not None
    assert reading.kept is not None
    behind = nullcontext() if reading.length is None else DESK.goes_on_behind(reading.length)
    with behind, from_block(reading.kept, first, rows):
        return run(watched.model, inputs).logits


def _of_continuation(logits: Float[Tensor, "R T V"], ids: tuple[int, ...]) -> Float[Tensor, " R"]:
    """Σ log p of the ids, each at the position before it."""
    logs = logits[:, -len(ids) :].float().log_softmax(-1)
    wanted = torch.tensor(ids, device=logs.device)
    return logs.gather(2, wanted.expand(len(logs), -1)[..., None])[..., 0].sum(1)


def _keep(watched: Watched, reading: Reading) -> tuple[Any, Mapping[tuple[str | None, int], tuple[int, int]]]:
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


def _reads_on(model: nn.Module) -> bool:
    """Whether the model makes logits of chosen positions only, where asked to."""
    return accepts(model, "logits_to_keep") and not accepts(model, "an argument of no model")


def _last_logits(model: nn.Module, inputs: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {**inputs, "logits_to_keep": count}
