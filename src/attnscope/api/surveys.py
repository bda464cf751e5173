"""survey(): a corpus through a model, into tables and an atlas."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnscope.api.badges import check_table
from attnscope.api.example_pages import write_example_pages
from attnscope.capturing import may_attend, no_attention
from attnscope.errors import CaptureError, InputError
from attnscope.models.inputs import device_of
from attnscope.models.length import max_positions
from attnscope.statistics.further.entries import FURTHER
from attnscope.surveys.arrow import arrow
from attnscope.surveys.atlas import write as write_atlas
from attnscope.surveys.engines.local import local
from attnscope.surveys.engines.on_ray import OnRay, RayOptions
from attnscope.surveys.manifest import NAME, read
from attnscope.surveys.media import ENDINGS, Media, worker_of
from attnscope.surveys.result import Survey
from attnscope.surveys.run import run_survey
from attnscope.surveys.settings import Options, settings_of
from attnscope.tracing.held import module_of, open_held
from attnscope.tracing.places import check_flag, is_number

ENGINES = ("local", "ray")
SHARD = 2048  # documents
LONGEST_WINDOW = 2048  # tokens, where nobody says: the work grows with its square
PAGES = 40  # of example texts


def survey(
    model: Any,
    tokenizer: Any = None,
    corpus: Any = None,
    out: Any = None,
    *,
    engine: str = "local",
    resume: bool = False,
    tolerate: bool = False,
    field: str = "text",
    texts: bool = True,
    window: int | None = None,
    statistics: Any = (),
    shard: int = SHARD,
    threads: int | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
    gpus_per_worker: float = 0,
    roles: Any = None,
    examples: int = PAGES,
    quiet: bool = False,
) -> Survey:
    """The statistics of every head over a whole corpus, with distributions and examples, in the folder `out`, and an atlas
    of them: `out`/index.html, with a page for each head.

    - `model`, `tokenizer`: as in attnscope.trace.
    - `corpus`: a path to text (a document a line), JSONL, CSV, Parquet or CoNLL-U (a document a sentence), a folder of
      these (each .txt is a document), a name or folder of `datasets`, or an iterable of texts or mappings. It is read as it is
      needed. What cannot be used is set aside with the reason. Of a model that sees or hears: a folder of pictures or of .wav files, a
      name or folder of `datasets`, or an iterable of paths, images or waveforms (at the rate of the feature extractor), or of mappings
      with one; its processor stands in the place of the tokenizer.
    - `out`: a new or empty folder. Shards are written there one by one; `resume` goes on with a survey that was ended in
      whatever way, and comes to the same result, to the last bit. Where torch, threads or the processor are others, it is
      refused, unless you `tolerate` that.
    - `field`: names the text in a mapping, a column or JSON; or the image or waveform in a mapping.
    - `texts`: False writes no word of the documents.
    - `window`: tokens that the model reads at once, at most; a longer document is read in pieces. None: what the model can
      read, at most 2,048.
    - `statistics`: names of statistics on request ("entropy_normalised", "induction_mul", …) beside those of the model level;
      they take a pass over the weights of each text, which is slower. One that is no mean over queries is averaged over texts.
    - `shard`: documents of a shard, at most. `threads`: of torch, in each worker; None: as many as torch has, one with Ray.
    - `engine`: "local" or "ray". Of Ray: `workers`, how many; `ray_address`, of a cluster; `gpus_per_worker`.
    - `roles`: a table of attnscope.roles, whose claims become badges in the atlas. `examples`: texts of which the atlas has
      a page of their own, in the instrument, at most; those first that most heads have as an example. 0: none.
    - `quiet`: print no progress on stderr.

    Raises InputError for a corpus without a usable text, a folder that is taken and a resumed survey of another
    configuration; CaptureError for a model that does not attend; OutputError where the disk is full; MissingDependency
    without pyarrow, Ray or datasets, where they are needed.
    """
    reads = getattr(module_of(model), "main_input_name", "input_ids")
    held = open_held(model, tokenizer, (reads,))
    model, tokenizer = held.model, held.reader if reads not in ENDINGS or tokenizer is None else tokenizer
    for name, flag in (("resume", resume), ("tolerate", tolerate), ("texts", texts), ("quiet", quiet)):
        check_flag(name, flag)
    if not isinstance(model, nn.Module):
        raise InputError(f"expected the model, a torch module, as the first argument, got {type(model).__name__}.")
    if reads in ENDINGS:
        if tokenizer is None:
            raise InputError(
                f"a survey of {type(model).__name__}, which reads {reads}, needs its processor as the second argument: attnscope.load gives "
                "it with the model."
            )
        corpus = Media(corpus, reads, field)
    elif not callable(tokenizer):
        raise InputError("a survey needs a tokenizer as the second argument: model, tokenizer = attnscope.load(…).")
    if not may_attend(model):
        raise CaptureError(f"{type(model).__name__} has no heads to survey: {no_attention(model)}")
    if engine not in ENGINES:
        raise InputError(f"there is no engine {engine!r}: give {' or '.join(ENGINES)}.")
    if not isinstance(out, (str, os.PathLike)):
        raise InputError(f"expected out as the path of a folder, got {type(out).__name__}.")
    for name, number in (("window", window), ("shard", shard), ("threads", threads), ("workers", workers)):
        if number is not None and (not is_number(number) or int(number) < 1 + 7 * (name == "window")):
            raise InputError(f"expected {name} as a number from {8 if name == 'window' else 1} on, got {number!r}.")
    if roles is not None:
        check_table(roles)
    if not is_number(examples) or int(examples) < 0:
        raise InputError(f"expected examples as a number from 0 on, got {examples!r}.")
    arrow()
    folder = Path(out).expanduser()
    options = Options(shard, _window(model, window, held.limit), field, texts, _on_request(statistics))
    device = "cuda" if engine == "ray" and gpus_per_worker else device_of(model).type
    settings = settings_of(model, tokenizer, options, threads or _threads(folder, resume, engine), device)
    if engine == "ray":
        run = OnRay(model, tokenizer, settings, folder, RayOptions(workers, ray_address, gpus_per_worker))
    else:
        worker = worker_of(model, tokenizer, settings, folder)
        run = lambda shards: local(worker, shards)  # noqa: E731
    run_survey(corpus, folder, settings, run, resume=resume, tolerate=tolerate, quiet=quiet)
    write_example_pages(folder, model, tokenizer, corpus, roles, int(examples) if texts else 0, quiet)
    write_atlas(folder, roles)
    return Survey(folder)


def _threads(folder: Path, resume: bool, engine: str) -> int:
    if resume and (folder / NAME).exists():
        return int(read(folder)["threads"])
    return 1 if engine == "ray" else torch.get_num_threads()


def _on_request(names: Any) -> tuple[str, ...]:
    """Raises InputError for a name of no statistic on request."""
    given = [names] if isinstance(names, str) or not isinstance(names, Iterable) else [*names]
    if unknown := [name for name in given if not isinstance(name, str) or name not in FURTHER]:
        raise InputError(
            f"expected names of statistics on request, got {unknown[0]!r}; there are {', '.join(FURTHER)}."
        )
    return tuple(dict.fromkeys(given))


def _window(model: nn.Module, asked: int | None, most: int | None) -> int | None:
    """Raises InputError for a window that the model cannot read."""
    made_for = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    limits = [one for one in (max_positions(model), most) if one is not None]
    if asked is not None and limits and asked > min(limits):
        raise InputError(f"expected window as at most {min(limits)} tokens, which this model can read, got {asked}.")
    if asked is not None:
        return asked
    return min([LONGEST_WINDOW, *limits, *([made_for] if isinstance(made_for, int) and made_for > 0 else [])])
