"""Where the heads of a model that sees look: at patches near by, at [CLS], at registers."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnscope.capturing import Recorder
from attnscope.errors import CaptureError, InputError
from attnscope.head_roles.batches import Head, heads_of, sites_of_text, vouch, weights_of
from attnscope.head_roles.by_weights import Measures, scores_of_sites, with_scores
from attnscope.head_roles.cases import CaseList, Cases, Task
from attnscope.head_roles.find import Findings
from attnscope.head_roles.judge import corrected
from attnscope.head_roles.looking import Looks, gathered
from attnscope.head_roles.plan import plan_of
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.texts import Text
from attnscope.models.images import image_inputs
from attnscope.models.inputs import prepare
from attnscope.text.format import count
from attnscope.tracing.modules import in_eval
from attnscope.tracing.tokens import Tokens

_FROM = "patch to key"
NEAR = Task(
    "near patches", _FROM, "patch", "looks at the patch itself or one beside it", True, False, 0.5,
    "local heads in Dosovitskiy et al. 2021",
)  # fmt: skip
SINKS = {
    "[CLS]": Task("[CLS]", _FROM, "patch", "rests on [CLS]", True, True, 0.3, "sink in Gu et al. 2024"),
    "[REG": Task("registers", _FROM, "patch", "rests on registers", True, True, 0.3, "registers in Darcet et al. 2024"),
}


def roles_of_images(model: nn.Module, processor: Any, corpus: Any) -> Findings:
    """See attnscope.roles. `corpus`: a list of images."""
    if corpus is None or isinstance(corpus, (str, bytes)) or not isinstance(corpus, Iterable):
        raise InputError(f"expected corpus as a list of images, got {type(corpus).__name__}.")
    images = list(corpus)
    if not images:
        raise InputError("expected corpus as a list of images, got an empty one.")
    passes = [_see(model, processor, image, number) for number, image in enumerate(images)]
    return _found(model, passes)


def _found(model: nn.Module, prepared: list[Any]) -> Findings:
    tokens = [one.tokens for one in prepared]
    texts = [Text({}, named.special, f"image {number}") for number, named in enumerate(tokens)]
    sizes = [len(named) for named in tokens]
    starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    plan = plan_of(_cases(tokens, starts), texts, sizes, by_word=False)
    far = _Far()
    reported = {int(text) for _, kept in plan.halves for text in kept.text}
    (looks,) = gathered(far.beside(_weights(model, prepared), tokens, reported), [plan.reading], texts)
    scores = _scores(model, prepared[0])
    rows, by_head = (
        with_scores((far.told(row, looks) for row in corrected(judged)), scores) for judged in plan.judged(looks, True)
    )
    return Findings(rows, by_head, f"It saw {count(len(tokens), 'image')}.", ())


def _scores(model: nn.Module, ready: Any) -> dict[Head, Measures]:
    """What the weights of the heads say; one image is read to find them."""
    with in_eval(model), torch.no_grad(), Recorder(model, keep={"projections"}, own_thread=True) as recorder:
        model(**ready.inputs)
    return scores_of_sites(sites_of_text(recorder.trace(tokens=ready.tokens), len(ready.tokens)))


class _Far:
    """How far each head looks, in patches: Σ w · distance / Σ w over pairs of patches of the reported images."""

    def __init__(self) -> None:
        self.moment: Any = 0.0
        self.mass: Any = 0.0

    def beside(
        self, passes: Iterator[tuple[int, tuple[Head, ...], Tensor]], tokens: list[Tokens], reported: set[int]
    ) -> Iterator[tuple[int, tuple[Head, ...], Tensor]]:
        """The passes as they are; those of reported images are counted."""
        for number, heads, weights in passes:
            if number in reported:
                patches, places = _patches(tokens[number])
                apart = torch.from_numpy(np.linalg.norm(places[:, None] - places[None], axis=-1)).float()
                among = weights[:, patches][:, :, patches]
                self.moment = self.moment + (among * apart).sum((1, 2)).double()
                self.mass = self.mass + among.sum((1, 2)).double()
            yield number, heads, weights

    def told(self, row: RoleRow, looks: Looks) -> RoleRow:
        if row.layer is None or row.head is None or isinstance(self.mass, float):
            return row
        head = looks.heads.index((row.layer, row.head))
        return replace(row, measures=(("patch_distance", float(self.moment[head] / self.mass[head])),))


def _cases(tokens: list[Tokens], starts: list[int]) -> dict[Task, Cases]:
    found: dict[Task, CaseList] = {}
    for number, (named, start) in enumerate(zip(tokens, starts, strict=False)):
        patches, places = _patches(named)
        if not len(patches):
            raise InputError(f"no patch of image {number} has a place, so nothing can be asked of its heads.")
        near = np.abs(places[:, None] - places[None]).max(-1) <= 1
        rests = {
            task: [start + i for i, name in enumerate(named.strings) if name.startswith(what) and named.special[i]]
            for what, task in SINKS.items()
        }
        for patch, beside in zip(patches.tolist(), near, strict=True):
            found.setdefault(NEAR, CaseList()).add(number, start + patch, (start + patches[beside]).tolist())
            for task, keys in rests.items():
                if keys:
                    found.setdefault(task, CaseList()).add(number, start + patch, keys)
    return {task: collected.cases() for task, collected in found.items()}


def _patches(tokens: Tokens) -> tuple["np.ndarray", "np.ndarray"]:
    """The positions of the first image's patches, and (row, column) of each."""
    if not tokens.grids:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 2))
    grid = tokens.grids[0]
    there = np.array(grid.places)
    return np.array([grid.tokens[place] for place in there]), np.stack(np.divmod(there, grid.columns), 1).astype(float)


def _see(model: nn.Module, processor: Any, image: Any, number: int) -> Any:
    try:
        inputs = image_inputs(processor, image)
    except InputError as error:
        raise InputError(f"the corpus has an image that cannot be read, image {number}: {error}") from error
    return prepare(model, None, inputs=inputs, reader=processor)


def _weights(model: nn.Module, prepared: list[Any]) -> Iterator[tuple[int, tuple[Head, ...], Tensor]]:
    with in_eval(model), torch.no_grad():
        for number, ready in enumerate(prepared):
            with Recorder(model, own_thread=True) as recorder:
                model(**ready.inputs)
            trace = recorder.trace(tokens=ready.tokens)
            sites = sites_of_text(trace, len(ready.tokens))
            if not sites:
                raise CaptureError(
                    f"{type(model).__name__} has no self-attention over all patches, so its heads have no roles."
                )
            if number == 0:
                vouch(sites)
            yield number, heads_of(sites), weights_of(sites)
