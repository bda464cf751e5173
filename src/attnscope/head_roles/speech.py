"""Which heads of a decoder follow the sound: later tokens look at later moments."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from attnscope.capturing import Recorder
from attnscope.errors import CaptureError, InputError
from attnscope.head_roles.batches import Head, vouch
from attnscope.head_roles.cases import Task
from attnscope.head_roles.evidence import sign_flip_p, wilson
from attnscope.head_roles.find import Findings
from attnscope.head_roles.halves import reported_half
from attnscope.head_roles.judge import corrected
from attnscope.head_roles.rows import FEWEST, RoleRow
from attnscope.models.inputs import prepare
from attnscope.models.media_files import waveform
from attnscope.statistics.sound import peaks_on_sound
from attnscope.text.format import count
from attnscope.tracing.modules import in_eval

ALIGNMENT = Task(
    "alignment", "text to sound", "sound", "follows the sound in the order of the words", False, False, 0.7,
    "alignment heads in Radford et al. 2022", "the other way round",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Heard:
    """One recording, of each head: which part of the pairs of tokens looks at moments in their order, and in the other one;
    how far a token's weight lies from its largest, in seconds. `tokens`: how many."""

    heads: tuple[Head, ...]
    tokens: int
    in_order: "np.ndarray"
    turned: "np.ndarray"
    spread: "np.ndarray"


def roles_of_speech(model: nn.Module, processor: Any, corpus: Any) -> Findings:
    """See attnscope.roles. `corpus`: a list of (waveform, text)."""
    pairs = _checked(processor, corpus)
    heard: list[_Heard] = []
    with in_eval(model), torch.no_grad():
        for number, (sound, text) in enumerate(pairs):
            heard.append(_hear(model, processor, sound, text, number))
    reported = reported_half([str(n) for n in range(len(heard))], [one.tokens for one in heard])
    chosen = [one for one, later in zip(heard, reported, strict=True) if not later]
    kept = [one for one, later in zip(heard, reported, strict=True) if later]
    order = np.argsort(-_mean(chosen, "in_order"), kind="stable").tolist() if chosen and kept else []
    rows = [_row(heard[0].heads[head], head, chosen, kept) for head in order]
    if not rows:
        rows = [RoleRow.without_head(ALIGNMENT, sum(one.tokens for one in kept))]
    return Findings(
        tuple(corrected(rows[:1])), tuple(corrected(rows)), f"It heard {count(len(heard), 'recording')}.", ()
    )


def _row(place: Head, head: int, chosen: Sequence[_Heard], kept: Sequence[_Heard]) -> RoleRow:
    tokens = sum(one.tokens for one in kept)
    share, turned = (float(_mean(kept, name)[head]) for name in ("in_order", "turned"))
    low, high = wilson(round(share * tokens), tokens)  # by tokens: pairs that share one are not independent
    apart = [round((one.in_order[head] - one.turned[head]) * one.tokens * (one.tokens - 1) / 2) for one in kept]
    spread = np.array([one.spread[head] for one in kept])
    measures = [("in_order", share - turned), ("time_spread", float(np.nanmean(spread)) if spread.size else np.nan)]
    return RoleRow(
        layer=place[0],
        head=place[1],
        task=ALIGNMENT,
        accuracy=share,
        low=min(low, share),
        high=max(high, share),
        n=tokens,
        baseline_accuracy=turned,
        p=sign_flip_p(apart) if tokens >= FEWEST else None,
        chosen_accuracy=float(_mean(chosen, "in_order")[head]),
        chosen_n=sum(one.tokens for one in chosen),
        weight=share,
        looked_at=len(kept[0].heads),
        measures=tuple((name, value) for name, value in measures if value == value),
    )


def _mean(heard: Sequence[_Heard], name: str) -> "np.ndarray":
    """The mean over recordings, each by its number of tokens."""
    return np.average([getattr(one, name) for one in heard], axis=0, weights=[one.tokens for one in heard])


def _hear(model: nn.Module, processor: Any, sound: Any, text: str, number: int) -> _Heard:
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer
    inputs = dict(extractor(sound, sampling_rate=extractor.sampling_rate, return_tensors="pt"))
    ready = prepare(model, tokenizer, inputs=inputs, text_target=text, reader=processor)
    with Recorder(model, own_thread=True) as recorder:
        model(**ready.inputs)
    trace = recorder.trace(tokens=ready.tokens, target=ready.target)
    peaks, spreads, heads, sites = [], [], [], []
    for site in trace.sites:
        found = None if ready.target is None else peaks_on_sound(site, ready.target, ready.tokens)
        if found is not None:
            sites.append(site)
            peaks.append(found[0])
            spreads.append(found[1].nanmean(1))
            heads += [(site.layer, head) for head in range(site.heads)]
    if not sites:
        raise CaptureError(
            f"{type(model).__name__} shows no attention from text to sound for recording {number}: roles need a decoder that "
            f"attends to a sound, and a text of at least three tokens; got {text!r}."
        )
    if number == 0:
        vouch(sites)
    moments = torch.cat(peaks)
    later = (moments[:, None, :] - moments[:, :, None]).sign()
    pairs = later[:, *torch.triu_indices(later.shape[1], later.shape[1], 1)].float()
    return _Heard(
        tuple(heads),
        moments.shape[1],
        (pairs > 0).float().mean(1).double().numpy(),
        (pairs < 0).float().mean(1).double().numpy(),
        torch.cat(spreads).double().numpy(),
    )


def _checked(processor: Any, corpus: Any) -> list[tuple[Any, str]]:
    if not all(hasattr(processor, name) for name in ("feature_extractor", "tokenizer")):
        raise InputError(
            "roles of a model that hears need its processor, with a feature_extractor and a tokenizer, as the second argument, "
            f"got {type(processor).__name__}. Load it with AutoProcessor.from_pretrained(…)."
        )
    pairs = list(_pairs(corpus))
    if not pairs:
        raise InputError("expected corpus as a list of (waveform, text), got an empty one.")
    return pairs


def _pairs(corpus: Any) -> Iterator[tuple[Any, str]]:
    if isinstance(corpus, (str, bytes)) or not isinstance(corpus, Iterable):
        raise InputError(f"expected corpus as a list of (waveform, text), got {type(corpus).__name__}.")
    for number, item in enumerate(corpus):
        if not isinstance(item, Sequence) or len(item) != 2 or not isinstance(item[1], str):
            raise InputError(
                f"expected corpus as a list of (waveform, text), got {type(item).__name__} as item {number}."
            )
        try:
            yield waveform(item[0]), item[1]
        except InputError as error:
            raise InputError(f"the corpus has a recording that cannot be used, item {number}: {error}") from error
