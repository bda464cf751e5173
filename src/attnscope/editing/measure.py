"""What a model predicts, as one number: how much more it expects one continuation than another.

score = log p(target) − log p(against)        for one token each this is the difference of their logits
score = log p(target)                         without an alternative
score = cos(mean x, mean x')                  of a model that predicts nothing: x its last state of the clean text, x' of this one
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.editing.desk import DESK
from attnscope.editing.last_state import MEASURE, last_state_of, mean_state
from attnscope.errors import InputError
from attnscope.models.encoding import accepts
from attnscope.predictions.targets import ids_of_text, notes_on
from attnscope.tracing.modules import in_eval
from attnscope.tracing.tokens import tokens_of

TOKENS_AT_ONCE = 2048  # of a batch of rows
_TEXT = frozenset(
    "input_ids attention_mask token_type_ids position_ids decoder_input_ids decoder_attention_mask".split()
)


@dataclass(frozen=True)
class Question:
    """What is asked of a prediction.

    `target`, `against`: ids of a continuation, or of one label; `against` may be empty. `at`: the position whose logits are asked, None: the
    last one, or the one there is (labels). `names`: what the two are called. `labels`: names of the labels of a classifier, else empty. `decoder`: whether
    the decoder's ids go on, and not the text's. `state`: of a model that predicts nothing, its last state of the clean text, [T, M], and the mean of it, [M]. `notes`: what a reader must
    know.
    """

    target: tuple[int, ...] = ()
    against: tuple[int, ...] = ()
    at: int | None = None
    names: tuple[str, str] = ("", "")
    labels: tuple[str, ...] = ()
    decoder: bool = False
    state: tuple[Float[Tensor, "T M"], Float[Tensor, " M"]] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def measure(self) -> str:
        """The score, in words."""
        if self.state is not None:
            return MEASURE
        if not self.against:
            return "log-probability"
        single = len(self.target) == len(self.against) == 1
        return "logit difference" if single else "difference of the summed log-probabilities"


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answers in some rows. `logits`: at the position asked, [B, V], fp32; [B, 0] where the model predicts nothing. `score`, `probability`: of the
    target, [B]. `states`: the residual stream at every layer's boundary, [B, T, M] each, as far as the model returns it. `last`: its last state, where that is
    what is asked about, with the mean."""

    logits: Float[Tensor, "B V"]
    score: Float[Tensor, " B"]
    probability: Float[Tensor, " B"]
    states: tuple[Tensor, ...] = field(default=(), repr=False)
    last: tuple[Float[Tensor, "B T M"], Float[Tensor, "B M"]] | None = field(default=None, repr=False)


def question_of(
    model: nn.Module, tokenizer: Any, inputs: Mapping[str, Any], outputs: Any, target: Any, against: Any
) -> Question:
    """What `target` and `against` ask of this model, which gave `outputs` for `inputs`; without a target the most probable prediction against the next one.
    Raises InputError where it cannot answer."""
    logits = getattr(outputs, "logits", None)
    kind, config = type(model).__name__, getattr(model, "config", None)
    if not isinstance(logits, Tensor) or logits.ndim not in (2, 3):
        last = last_state_of(outputs)
        if last is not None and target is None and against is None:
            return Question(state=(last[0], mean_state(last, inputs)[0]))
        raise InputError(
            f"{kind} has no head to predict with: it returns no logits"
            + (
                ", so leave target and against out to ask about its last state, or load the model"
                if last is not None
                else ". Load the model"
            )
            + " with one, such as AutoModelForCausalLM, AutoModelForMaskedLM or AutoModelForSequenceClassification; edits and their receipts hold without."
        )
    if logits.ndim == 2:
        labels = _labels(config, logits.shape[-1])
        given = [None if one is None else _label(one, labels) for one in (target, against)]
        ids = [one for one in _leading(logits[0], *given) if one is not None]
        names = (labels[ids[0]], labels[ids[1]] if len(ids) > 1 else "")
        return Question((ids[0],), tuple(ids[1:]), None, names, labels)
    size = logits.shape[-1]
    wanted = None if target is None else _ids(tokenizer, target, "target", size)
    other = () if against is None else _ids(tokenizer, against, "against", size)
    decoder = bool(getattr(config, "is_encoder_decoder", False))
    at = None if decoder else _masked_position(tokenizer, inputs, kind)
    if wanted is None:
        best, second = _leading(logits[0, -1 if at is None else at], None, other[0] if other else None)
        wanted, other = (best,), other or (() if second is None else (second,))
    names = (_spelled(tokenizer, wanted), _spelled(tokenizer, other))
    if at is not None and (long := next((i for i in (0, 1) if len((wanted, other)[i]) > 1), None)) is not None:
        raise InputError(
            f"expected one token to fill in, got {names[long]!r}, which is {len((wanted, other)[long])}. Give a word of one token."
        )
    if wanted == other:
        raise InputError(f"target and against are the same token, {names[0]!r}. Give two that differ.")
    notes = notes_on(tokenizer, {"target": target, "against": against}, logits[0, -1 if at is None else at])
    return Question(wanted, other, at, names, (), decoder, notes=notes)


def _leading(logits: Float[Tensor, " V"], target: int | None, against: int | None) -> tuple[int, int | None]:
    """Both as they are where a target is given; else the most probable one that is not `against`, and `against` or the next one."""
    if target is not None:
        return target, against
    best = [one for one in logits.topk(min(3, len(logits))).indices.tolist() if one != against]
    return best[0], against if against is not None else next(iter(best[1:]), None)


def position_of(model: nn.Module, tokenizer: Any, inputs: Mapping[str, Any]) -> int | None:
    """The position that predicts; None where that is not told by the inputs, or the model predicts labels, which may be read from any."""
    words = getattr(model, "get_output_embeddings", None)
    if callable(words) and words() is None:
        return None
    decoder = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    ids = inputs.get("decoder_input_ids" if decoder else "input_ids")
    if not isinstance(ids, Tensor):
        return None
    masked = None if decoder else masked_at(tokenizer, inputs)
    return ids.shape[1] - 1 if masked is None else masked


def _masked_position(tokenizer: Any, inputs: Mapping[str, Any], kind: str) -> int | None:
    if (found := masked_at(tokenizer, inputs)) is not None:
        return found
    if "MaskedLM" in kind:
        token = getattr(tokenizer, "mask_token", None) or "[MASK]"
        raise InputError(f"{kind} fills in {token}, and the text has none. Put it where the prediction is.")
    return None


def masked_at(tokenizer: Any, inputs: Mapping[str, Any]) -> int | None:
    """Where the first [MASK] stands; None where there is none."""
    mask, ids = getattr(tokenizer, "mask_token_id", None), inputs.get("input_ids")
    places = (ids[0] == mask).nonzero() if mask is not None and isinstance(ids, Tensor) else None
    return None if places is None or not len(places) else int(places[0])


def _ids(tokenizer: Any, given: Any, what: str, size: int) -> tuple[int, ...]:
    if isinstance(given, str):
        if not callable(tokenizer):
            raise InputError(
                f"{what} {given!r} is a text, and this edit has no tokenizer: attnscope.edit(model, tokenizer), or give an id."
            )
        made: Any = ids_of_text(tokenizer, given, what)[0]
    else:
        made = [given] if hasattr(given, "__index__") and not isinstance(given, bool) else given
    try:
        ids = tuple(int(one) for one in made)
    except (TypeError, ValueError):
        ids = ()
    if not ids or not all(0 <= one < size for one in ids):
        raise InputError(
            f"expected {what} as a text of at least one token, or ids from 0 to {size - 1}; got {given!r:.60}."
        )
    return ids


def _labels(config: Any, count: int) -> tuple[str, ...]:
    names = getattr(config, "id2label", None) or {}
    return tuple(str(names.get(number, number)) for number in range(count))


def _label(given: Any, labels: Sequence[str]) -> int:
    if isinstance(given, str) and given in labels:
        return labels.index(given)
    if hasattr(given, "__index__") and not isinstance(given, bool) and 0 <= int(given) < len(labels):
        return int(given)
    raise InputError(f"expected a label of this model ({', '.join(labels[:12])}), got {given!r:.60}.")


def _spelled(tokenizer: Any, ids: Sequence[int]) -> str:
    return (
        ""
        if not ids
        else str(tokenizer.decode(list(ids)))
        if hasattr(tokenizer, "decode")
        else " ".join(f"#{i}" for i in ids)
    )


def names_of(tokenizer: Any, question: Question, ids: Sequence[int]) -> list[str]:
    """Predictions as people read them."""
    if question.labels:
        return [question.labels[number] for number in ids]
    return [tokens_of(tokenizer, [number]).shown[0] for number in ids]


# --- asking -----------------------------------------------------------------------------------------------------------


def run(model: nn.Module, inputs: Mapping[str, Any], states: bool = False) -> Any:
    """One pass, in eval mode, without gradients. `states`: with the residual stream, where the model returns it."""
    more = {"output_hidden_states": True} if states and _returns_states(model) else {}
    with in_eval(model), torch.no_grad():
        return model(**inputs, **more)


def _returns_states(model: nn.Module) -> bool:
    """Whether it returns the residual stream when it is asked to, as transformers' models do."""
    if accepts(model, "output_hidden_states"):
        return True
    kinds = {one.kind for one in inspect.signature(model.forward).parameters.values()}
    return hasattr(getattr(model, "config", None), "output_hidden_states") and inspect.Parameter.VAR_KEYWORD in kinds


def answers(model: nn.Module, inputs: Mapping[str, Any], question: Question, outputs: Any = None) -> Answers:
    """What the model answers in every row of `inputs`. `outputs`: of a pass on them, where it ran already."""
    outputs = run(model, inputs) if outputs is None else outputs
    found = getattr(outputs, "decoder_hidden_states", None) or getattr(outputs, "hidden_states", None) or ()
    states = tuple(one for one in found if isinstance(one, Tensor) and one.ndim == 3)
    if question.state is not None:
        last = last_state_of(outputs)
        assert last is not None
        means = mean_state(last, inputs)
        score = torch.cosine_similarity(means, question.state[1][None], dim=-1)
        return Answers(means[:, :0], score, torch.full_like(score, torch.nan), states, (last, means))
    logits = outputs.logits
    if logits.ndim == 3:
        logits = logits[:, -1 if question.at is None else question.at]
    logits = logits.float()
    target = _log_probability(model, inputs, question, question.target, logits)
    score = target
    if question.against:
        if len(question.target) == len(question.against) == 1:
            score = logits[:, question.target[0]] - logits[:, question.against[0]]
        else:
            score = target - _log_probability(model, inputs, question, question.against, logits)
    return Answers(logits, score, target.exp(), states)


def _log_probability(
    model: nn.Module, inputs: Mapping[str, Any], question: Question, ids: tuple[int, ...], logits: Float[Tensor, "B V"]
) -> Float[Tensor, " B"]:
    """Of a continuation, summed over its tokens."""
    first = logits.log_softmax(-1)[:, ids[0]]
    if len(ids) == 1:
        return first
    longer = continued(inputs, ids[:-1], question.decoder)
    name = "decoder_input_ids" if question.decoder else "input_ids"
    with DESK.goes_on_behind(inputs[name].shape[1]):
        rows = run(model, longer).logits[:, -len(ids) + 1 :].float().log_softmax(-1)
    rest = torch.tensor(ids[1:], device=rows.device)
    return first + rows.gather(2, rest.expand(len(rows), -1)[..., None])[..., 0].sum(1)


def continued(inputs: Mapping[str, Any], ids: Sequence[int], decoder: bool) -> dict[str, Any]:
    """The inputs with more tokens behind the text (or behind what the decoder reads)."""
    longer, name = dict(inputs), "decoder_input_ids" if decoder else "input_ids"
    if not isinstance(longer.get(name), Tensor):
        raise InputError(
            f"a target of several tokens goes on behind {name}, which these inputs do not have. Give a target of one token."
        )
    length = longer[name].shape[1]
    for other in ("decoder_attention_mask",) if decoder else ("attention_mask", "token_type_ids", "position_ids"):
        value = longer.get(other)
        if isinstance(value, Tensor) and value.shape[-1:] == (length,):
            last = value[..., -1:]
            steps = torch.arange(1, len(ids) + 1, device=value.device)
            longer[other] = torch.cat(
                [value, last + steps if other == "position_ids" else last.expand(*last.shape[:-1], len(ids))], -1
            )
    more = torch.tensor(ids, device=longer[name].device, dtype=longer[name].dtype)
    longer[name] = torch.cat([longer[name], more.expand(len(longer[name]), -1)], 1)
    return longer


def rows_at_once(inputs: Mapping[str, Any], tokens: int = TOKENS_AT_ONCE) -> int:
    """How many rows like the one in `inputs` a batch of so many `tokens` holds; 1 where they cannot be repeated."""
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2 or repeated(inputs, 2) is None:
        return 1
    return max(1, tokens // ids.shape[1])


def repeated(inputs: Mapping[str, Any], rows: int) -> dict[str, Any] | None:
    """The inputs of one row as a batch of equal rows; None where they hold more than a text."""
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    if not set(tensors) <= _TEXT or any(len(value) != 1 for value in tensors.values()):
        return None
    return {**inputs, **{name: value.expand(rows, *value.shape[1:]) for name, value in tensors.items()}}
