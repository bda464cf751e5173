"""roles(): what the heads of a model do, with the evidence."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from attnscope.errors import InputError
from attnscope.head_roles.baselines import Places
from attnscope.head_roles.by_weights import scores_by_head, with_scores
from attnscope.head_roles.cases import Cases, Task, relation_cases
from attnscope.head_roles.content import content_rows
from attnscope.head_roles.examples import readable
from attnscope.head_roles.judge import corrected
from attnscope.head_roles.links import Ends, link_task, read_links
from attnscope.head_roles.looking import look, weights_of_texts
from attnscope.head_roles.plan import Plan, plan_of
from attnscope.head_roles.relations import relation_task
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.tasks import probe_cases, probes, token_cases
from attnscope.head_roles.texts import Text, read_plain, read_sentences
from attnscope.head_roles.treebank import read_treebank
from attnscope.models.language import language_note, unknown_in
from attnscope.models.length import check_ids, max_positions
from attnscope.statistics.sink_tokens import MOST, TAKES
from attnscope.text.format import count, listed

LOOKED_AT_FIRST = 32  # texts that show whether the model is causal and has a sink


@dataclass(frozen=True, eq=False)
class Findings:
    """The best row of every task, the rows of every head (for relations on request only), and what to know about them. `texts`, `drawn`: what the model
    read, of the corpus and of random tokens."""

    rows: tuple[RoleRow, ...]
    by_head: tuple[RoleRow, ...]
    data: str
    notes: tuple[str, ...]
    texts: tuple[Text, ...] = ()
    drawn: tuple[Text, ...] = ()


def find_roles(
    model: nn.Module, tokenizer: Any, corpus: Any, treebank: Any, every: bool = False, links: Any = None
) -> Findings:
    """See attnscope.roles."""
    limit = max_positions(model)
    notes: list[str] = []
    texts: list[Text] = []
    if treebank is not None:
        read = read_treebank(treebank)
        texts, left_out = read_sentences(tokenizer, read.sentences, limit)
        notes += _set_aside([*read.set_aside, *left_out], len(read.sentences) + len(read.set_aside))
    ends: dict[str, Ends] = {}
    if links is not None:
        linked, ends, left_out = read_links(tokenizer, links, limit)
        taken = {relation for text in texts if text.sentence for *_, relation in text.sentence.arcs} & set(ends)
        if taken:
            raise InputError(
                f"the treebank has relations named {listed(sorted(taken))} too; give your links another name."
            )
        notes += _set_aside(left_out, len(linked) + len(left_out), "texts with links")
        texts += linked
    sentences = len(texts)
    if corpus is not None:
        plain, left_out = read_plain(tokenizer, corpus, limit)
        notes += _set_aside(left_out, len(plain) + len(left_out), "texts")
        texts += plain
    for text in texts:
        check_ids(model, tokenizer, torch.tensor([text.ids]))
    notes += _language(tokenizer, texts)
    special = {*getattr(tokenizer, "all_special_ids", ()), *getattr(tokenizer, "added_tokens_decoder", {})}
    drawn = probes(model, sorted(special), _first_id(tokenizer), limit)
    if not texts and not drawn:
        raise InputError(
            "there is nothing to look at: give a corpus (a list of texts), links, or a treebank (a path to CoNLL-U)."
        )
    causal, aside = _manner(model, texts or drawn)
    plans = []
    if sentences:
        plans.append(_relations(texts[:sentences], len(texts), causal, aside, ends))
        if aside:
            notes.append(
                "The first word of a sentence is no key here: most heads rest on it whatever the query is (a sink). "
                "Relations to it are left out."
            )
    if texts:
        plans.append(_places(texts))
    rows: list[RoleRow] = []
    read_by: list[tuple[Plan, Sequence[Text]]] = []  # of each of the first rows, for its examples
    by_head: list[RoleRow] = []
    asked_of_drawn = [_probes(drawn), *([] if texts else [_places(drawn)])] if drawn else []
    for group, chosen in ((texts, plans), (drawn, asked_of_drawn)):
        if not chosen:
            continue
        for plan, looks in zip(chosen, look(model, group, [plan.reading for plan in chosen]), strict=True):
            best, all_heads = plan.judged(looks, every or not plan.reading.by_word)
            rows += best
            read_by += [(plan, group)] * len(best)
            by_head += all_heads
    if texts:
        best, all_heads = content_rows(model, texts, causal)
        rows += best
        by_head += all_heads
    scores = scores_by_head(model, texts or drawn)
    return Findings(
        with_scores(
            _with_examples(corrected(rows), read_by, tokenizer), scores
        ),  # all rows together: a reader sees one table
        with_scores(corrected(by_head), scores),
        _data(sentences, len(texts) - sentences, len(drawn)),
        tuple(notes),
        tuple(texts),
        tuple(drawn),
    )


def _with_examples(
    rows: Sequence[RoleRow], read_by: Sequence[tuple[Plan, Sequence[Text]]], tokenizer: Any
) -> list[RoleRow]:
    """Words for the examples of the claims."""
    found = [
        replace(row, examples=readable(row.chosen, texts, tokenizer, plan.reading.by_word)) if row.claimed else row
        for row, (plan, texts) in zip(rows, read_by, strict=False)
    ]
    return [*found, *rows[len(read_by) :]]


def _relations(texts: Sequence[Text], count: int, causal: bool, aside: bool, ends: Mapping[str, Ends]) -> Plan:
    sizes = [text.alignment.units for text in texts if text.alignment is not None] + [0] * (count - len(texts))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    found = relation_cases(
        [text.sentence.arcs for text in texts if text.sentence is not None],
        [text.alignment.words for text in texts if text.alignment is not None],
        starts[: len(texts)].tolist(),
    )
    found = {place: _visible(cases, starts, causal, aside) for place, cases in found.items()}
    order = sorted(found, key=lambda place: (-len(found[place]), place))
    tasks = {_task(*place, ends): found[place] for place in order}
    return replace(
        plan_of(tasks, texts, sizes, by_word=True, aside=aside),
        places=_words_at(texts, starts[: len(texts) + 1], causal),
    )


def _task(relation: str, direction: str, ends: Mapping[str, Ends]) -> Task:
    return link_task(relation, direction, ends[relation]) if relation in ends else relation_task(relation, direction)


def _words_at(texts: Sequence[Text], starts: "np.ndarray", causal: bool) -> Places:
    """The words of the treebank at each place; of several that make one unit, all together."""
    forms: dict[str, int] = {}
    numbers = np.zeros(int(starts[-1]), dtype=np.int64)
    for text, start in zip(texts, starts.tolist(), strict=False):
        if text.alignment is None or text.sentence is None:
            continue
        written: dict[int, str] = defaultdict(str)
        for unit, (first, stop) in zip(text.alignment.words, text.sentence.spans, strict=True):
            written[unit] += text.sentence.text[first:stop].casefold()
        for unit, form in written.items():
            if unit >= 0:
                numbers[start + unit] = forms.setdefault(form, len(forms))
    owner = np.repeat(np.arange(len(texts)), np.diff(starts))
    return Places(owner, numbers, tuple(forms), causal)


def _visible(cases: Cases, starts: "np.ndarray", causal: bool, aside: bool) -> Cases:
    """Without the pairs whose key no head can show: it comes later in a causal model, or it is the sink."""
    seen = np.ones(len(cases.queries), dtype=bool)
    if causal:
        seen &= cases.keys <= cases.queries
    if aside:
        seen &= cases.keys != starts[cases.text_of_pair]
    return cases.that_are(seen)


def _places(texts: Sequence[Text]) -> Plan:
    sizes = [len(text) for text in texts]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return plan_of(token_cases(texts, starts), texts, sizes, by_word=False)


def _probes(drawn: Sequence[Text]) -> Plan:
    sizes = [len(text) for text in drawn]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return plan_of(probe_cases(drawn, starts), drawn, sizes, by_word=False)


def _manner(model: nn.Module, texts: Sequence[Text]) -> tuple[bool, bool]:
    """Whether no head looks ahead, and whether most heads rest on the first token of a text that is not special."""
    ahead, first, seen = False, 0.0, 0
    plain = sorted(texts[:LOOKED_AT_FIRST], key=len)[-8:]
    for number, _, weights in weights_of_texts(model, plain):
        ahead |= bool((weights.triu(1) > 0).any())
        if not plain[number].special[0] and len(plain[number]) > 3:
            first, seen = first + weights[:, 1:, 0].mean(1).numpy(), seen + 1
    takes = np.asarray(first) / max(1, seen)
    return not ahead, bool(seen) and float((takes > TAKES).mean()) > MOST


def _data(sentences: int, texts: int, drawn: int) -> str:
    """What the model read."""
    parts = [
        count(number, one) for number, one in ((sentences, "sentence"), (texts, "text"), (drawn, "sequence")) if number
    ]
    return f"It read {listed(parts)}{' of random tokens' if drawn else ''}."


def _first_id(tokenizer: Any) -> int | None:
    """What texts of this model begin with."""
    for name in ("cls_token_id", "bos_token_id"):
        if (number := getattr(tokenizer, name, None)) is not None:
            return int(number)
    return None


def _language(tokenizer: Any, texts: Sequence[Text]) -> list[str]:
    """A note where the texts are in another language than the tokenizer's."""
    tokens = sum(len(text) - sum(text.special) for text in texts)
    note = language_note(
        tokens, unknown_in(tokenizer, (text.ids for text in texts)), sum(text.characters for text in texts)
    )
    return [note] if note else []


def _set_aside(reasons: Sequence[str], total: int, what: str = "sentences") -> list[str]:
    if not reasons:
        return []
    some = "; ".join(islice(reasons, 3))
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return [f"{len(reasons)} of {total} {what} were set aside: {some}{more}."]
