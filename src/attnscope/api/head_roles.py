"""roles(): what the heads of a model do."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from attnscope.api.ablation import ABLATIONS, with_ablation
from attnscope.capturing import may_attend, no_attention
from attnscope.errors import CaptureError, InputError
from attnscope.head_roles.curves import RoleCurves
from attnscope.head_roles.find import find_roles
from attnscope.head_roles.images import roles_of_images
from attnscope.head_roles.speech import roles_of_speech
from attnscope.head_roles.table import RoleTable
from attnscope.head_roles.treebank import read_treebank
from attnscope.tracing.held import module_of, open_held
from attnscope.tracing.modules import model_name


def roles(
    model: Any,
    tokenizer: Any = None,
    corpus: Any = None,
    treebank: Any = None,
    *,
    links: Any = None,
    every: bool = False,
    ablate: str | None = None,
) -> RoleTable | RoleCurves:
    """What each head of a model does, chosen on one half of the data and reported on the other.

    - `model`, `tokenizer`: as in attnscope.trace; the tokenizer is a fast one, which tells the characters of a token. A list
      or a mapping of models, such as the checkpoints of a training run, gives RoleCurves: a curve a head.
    - `corpus`: a list of texts, for the rules about places and special tokens. Of an encoder-decoder that hears: a list of
      (waveform, text), the waveform at the rate of its feature extractor; its processor stands in the place of the tokenizer. Of
      a model that sees: a list of images.
    - `treebank`: a path to a CoNLL-U file, or several, or a Treebank (universaldependencies.org has over 200), for every
      relation in both directions. Words are compared: what the tokens of a split word receive is added up, what they give is averaged (Clark et al. 2019).
    - `links`: relations of your own: a list of (text, {relation: [(place, place), …]}). A relation is a name, or (name, from,
      to); a place is a (start, stop) of characters in the text, or the number of a token. Both directions are asked, each
      text is a document.
    - `ablate`: "mean" or "off" measures too what the model loses without each head that has a role (attnscope.effects): its columns effect, band_low and
      band_high are filled. Of causal language models; some minutes.
    - `every`: keep the rows of every head for relations too, not of the best one alone.

    Copying and induction are asked on random tokens, which need no data; without texts the places are asked there too. The
    halves are split by document. Each row has Wilson's 95 % interval, the best fixed offset and the best fixed word as its
    baselines, and a paired exact test against the offset (signs flipped by sentence), corrected for all rows (Holm). `RoleRow.claimed` says when a row counts as evidence, and why.

    Raises InputError where there is nothing to look at, and for a treebank of which no sentence can be used; CaptureError
    where the model's weights cannot be vouched for; MissingDependency without conllu, where a treebank is given.
    """
    if isinstance(model, (list, tuple, Mapping)):
        return _curves(model, tokenizer, corpus, treebank, links, ablate)
    return role_table(model, tokenizer, corpus, treebank, every, links, ablate)


def _curves(models: Any, tokenizer: Any, corpus: Any, treebank: Any, links: Any, ablate: str | None) -> RoleCurves:
    named = (
        dict(models) if isinstance(models, Mapping) else {f"checkpoint {i}": model for i, model in enumerate(models)}
    )
    if not named:
        raise InputError("expected at least one model, got an empty list.")
    if treebank is not None:
        treebank = read_treebank(treebank)  # once for all of them
    return RoleCurves(
        {
            # a table keeps its model for pages of the examples: of many checkpoints that would be too much memory
            str(name): replace(role_table(model, tokenizer, corpus, treebank, True, links, ablate), source=None)
            for name, model in named.items()
        }
    )


def _of_other_kinds(reads: str, model: Any, processor: Any, corpus: Any, words: Any) -> RoleTable:
    """roles() of a model that hears or sees."""
    finders = {"input_features": roles_of_speech, "input_values": roles_of_speech, "pixel_values": roles_of_images}
    finder, inside = finders.get(reads), module_of(model)
    if finder is None or words is not None:
        raise InputError(
            f"a treebank and links are of texts, and {type(inside).__name__} reads {reads}. Give a corpus of what it reads."
            if words is not None
            else f"roles need a model of text, sound or images, and {type(inside).__name__} reads {reads}."
        )
    if processor is None:
        names = ("processor", "image_processor", "feature_extractor")
        processor = next((one for name in names if (one := getattr(model, name, None)) is not None), None)
    if not may_attend(inside):
        raise CaptureError(f"{type(inside).__name__} has no roles: {no_attention(inside)}")
    found = finder(inside, processor, corpus)
    return RoleTable(found.rows, found.by_head, model_name(inside), found.data, found.notes)


def role_table(
    model: Any, tokenizer: Any, corpus: Any, treebank: Any, every: bool, links: Any = None, ablate: str | None = None
) -> RoleTable:
    """roles() of one model."""
    if ablate not in (None, *ABLATIONS):
        raise InputError(f"expected ablate as {' or '.join(map(repr, ABLATIONS))}, got {ablate!r:.40}.")
    reads = getattr(module_of(model), "main_input_name", "input_ids")
    if ablate is not None and reads != "input_ids":
        raise InputError(
            f"ablate= measures the loss of a causal language model, and {type(module_of(model)).__name__} reads {reads}. Leave it out."
        )
    if reads != "input_ids":
        return _of_other_kinds(reads, model, tokenizer, corpus, treebank if links is None else links)
    held = open_held(model, tokenizer, ("input_ids",))
    model, tokenizer = held.model, held.reader
    if not isinstance(model, nn.Module):
        raise InputError(f"expected the model, a torch module, as the first argument, got {type(model).__name__}.")
    if not may_attend(model):
        raise CaptureError(f"{type(model).__name__} has no roles: {no_attention(model)}")
    found = find_roles(model, tokenizer, corpus, treebank, every, links)
    table = RoleTable(found.rows, found.by_head, model_name(model), found.data, found.notes, (model, tokenizer))
    return table if ablate is None else with_ablation(table, found, ablate)
