"""trace(): one forward pass of a model on a text."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from attnscope.api.keeping import STREAM_MOST, ByItself
from attnscope.capturing import Recorder, may_attend, no_attention
from attnscope.capturing.stream.room import ALL, Room
from attnscope.errors import CaptureError, InputError
from attnscope.models.chances import with_chances
from attnscope.models.continuation import check_generate, wanted
from attnscope.models.images import image_inputs, image_processor, is_image, pictures_of, reads_pixels
from attnscope.models.inputs import Prepared, prepare
from attnscope.models.loading import loaded_as
from attnscope.tracing.given_groups import written_down
from attnscope.tracing.held import module_of, open_held
from attnscope.tracing.modules import Look, in_eval, look_at
from attnscope.tracing.pictures import with_pictures
from attnscope.tracing.places import parse_keep, parse_layers, parse_part, parse_sites
from attnscope.tracing.stream import spelled_by
from attnscope.tracing.trace import Trace

_PLAIN = frozenset({str, int, bool})  # what JSON gives back as it was


def trace(
    model: Any,
    tokenizer: Any = None,
    text: Any = None,
    *,
    image: Any = None,
    text_pair: str | None = None,
    text_target: str | None = None,
    target_tokens: Sequence[str] | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    inputs: Mapping[str, Any] | None = None,
    generate: int | Mapping[str, Any] = 0,
    ids: Any = None,
    layers: Sequence[int | str] | int | str | None = None,
    sites: Sequence[str] | str | None = None,
    keep: Collection[str] | None = (),
    truncate: bool = False,
    part: int = 0,
    store: str = "device",
    groups: Mapping[str, Any] | None = None,
) -> Trace:
    """Run `model` once on a text or an image and keep what its attention did. The pass is in eval mode, without gradients.

    Give exactly one of `text`, `messages`, `inputs` and `image`; an `image` may have a `text` or `messages` beside it:

    - `model`: a torch module, or what holds one: a transformers pipeline, a SentenceTransformer, a CrossEncoder, a PEFT
      model. `tokenizer`: its tokenizer; None with `inputs`, and where what holds the model has one.
    - `image`: a picture, for models that read one: a PIL image, pixels in numpy or torch, or a path. The processor, as the
      second argument, makes the inputs; the trace keeps a small picture of what the model saw. An image may stand in the
      place of the text: trace(model, processor, image).
    - `text`: what the model reads. `text_pair`: a second sentence, for models that read two.
    - `text_target`: what the decoder of an encoder-decoder model reads. Without it the decoder starts from
      decoder_start_token_id, and a note of the trace says so. `target_tokens`: names for what the decoder reads, one for
      each of its tokens, where there is no tokenizer for them.
    - `messages`: a chat, a list of {"role": …, "content": …}, written out by the tokenizer's own template. An image
      stands where a message has {"type": "image"} in its content, else before the user's first words.
    - `inputs`: ready tensors by the names of the model's forward, a batch of one row: {"input_ids": [1, T], …}.
    - `generate`: up to so many tokens that the model adds greedily; the whole is traced in one causal pass. Settings of its
      own generate(), such as {"max_new_tokens": 20, "do_sample": True}, are taken too; {} leaves all to the model.
    - `ids`: what a generate() of your own returned, [T] or [1, T], in place of `generate`: the prompt, which stands beside
      it as a text, and its continuation; of encoder-decoder models, what the decoder read and wrote. Alone: ids to read.
    - `layers`: numbers of the layers to keep, from 0; 5 or "L5" alone is one layer. `sites`: module paths of the
        attention to keep. None: all.
    - `keep`: what else to keep. "x" is the input of every layer (layers × T × M numbers), "pre_rotary" is q and k
      before rotary embedding (as large as q and k), "projections" are W_q, W_k and W_v (the model's parameters, not
      copied), "stream" is the residual stream and what was written into it, for predictions, lens and attribution.
    - `truncate`: True cuts a text that is too long for the model, and a note of the trace says so.
    - `part`: of windows, frames or crops of an image or a video that are too many to lay out (beyond 8,192 positions, or 1,024 where only weights are known), the
      first that is shown, from 0. A note of the trace says which are.
    - `store`: where q, k and v are kept: on the model's "device", in main memory ("cpu"), or on "disk", in files that are
      mapped into memory and go away with the trace.
    - `groups`: groups of tokens of your own, in the place of the messages and the like that `trace.tokens.groups` has by itself:
      {"system": (0, 57)} by positions, {"question": r"Question:.*"} by a regular expression; they may lie within each other.

    Raises InputError for arguments that do not fit, a text that is too long among them; CaptureError for a model that
    is compiled, has no attention, or attends in a way that attnscope cannot reproduce.
    """
    if isinstance(tokenizer, str):
        raise InputError(
            "expected the tokenizer as the second argument, got a text. The text is the third: trace(model, tokenizer, text); "
            "where what holds the model has a tokenizer of its own, give the text by its name: trace(model, text=…)."
        )
    text, image = _apart(module_of(model), text, image)
    reader = _reader(model, tokenizer)
    named = isinstance(image, (str, os.PathLike))  # by a path, which can be written down
    given_inputs = inputs is not None or (image is not None and not named)
    given_text = text if image is None or named else None
    if image is not None:
        if inputs is not None or ids is not None or (text is not None and messages is not None):
            raise InputError("an image stands alone or beside a text or messages; leave out inputs and ids.")
        check_generate(generate)
        inputs, text = image_inputs(reader, image, text, messages, wanted(generate)), None
    held = open_held(model, tokenizer, inputs.keys() if isinstance(inputs, Mapping) else ("input_ids",))
    model, tokenizer = held.model, held.reader
    if not isinstance(model, nn.Module):
        raise InputError(
            f"expected the model, a torch module, as the first argument, got {type(model).__name__}. "
            "The tokenizer is the second."
        )
    inner = getattr(model, "_orig_mod", model)
    look = look_at(inner)
    if not may_attend(inner, look):
        raise CaptureError(f"{type(model).__name__} cannot be traced: {no_attention(model)}")
    layers, sites, kept, part = parse_layers(layers), parse_sites(sites), parse_keep(keep), parse_part(part)
    prepared = prepare(
        model,
        tokenizer,
        text=text,
        text_pair=text_pair,
        text_target=text_target,
        messages=messages if image is None else None,
        inputs=inputs,
        generate=generate,
        truncate=truncate,
        ids=ids,
        limit=held.limit,
        reader=reader,
        target_tokens=target_tokens,
        look=look,
    )
    prepared = replace(prepared, notes=(*held.notes, *prepared.notes))
    room = ALL
    if isinstance(keep, ByItself):
        kept, room = keep.of(len(prepared.tokens)), ALL if keep.whole else Room(most=STREAM_MOST)
    given = {
        "text": given_text,
        "text_pair": text_pair,
        "text_target": text_target,
        "target_tokens": None if target_tokens is None else list(target_tokens),
        "messages": messages if image is None or named else None,
        "inputs": given_inputs,
        "image": os.fspath(image) if named else None,
        **_continuation(generate, ids, prepared),
        "layers": layers,
        "sites": sites,
        "truncate": truncate,
        "part": part,
        "keep": None if isinstance(keep, ByItself) else sorted(kept),
    }
    look = look_at(inner) if wanted(generate) else look  # it has run since: what was lazy may have been made
    run = _run(inner, look, tokenizer, prepared, layers, sites, kept, part, room, store)
    if groups is not None:
        run = run.with_groups(groups)
        given["groups"] = written_down(groups, run.tokens.own_groups)
    made = replace(run, source=_source(inner, given), streams=spelled_by(run.streams, tokenizer))
    return with_pictures(made, pictures_of(inner, reader, prepared.inputs))


def _apart(model: Any, text: Any, image: Any) -> tuple[Any, Any]:
    """(text, image): an image in the place of the text is one, and so is a path, for a model that reads no text."""
    if text is None or image is not None:
        return text, image
    path = isinstance(text, os.PathLike) or (isinstance(text, str) and reads_pixels(model))
    return (None, text) if path or is_image(text) else (text, None)


def _reader(model: Any, tokenizer: Any) -> Any:
    """What makes pixels or features: what was given, or what a pipeline has beside its model."""
    if isinstance(model, nn.Module) or image_processor(tokenizer) is not None:
        return tokenizer
    names = ("processor", "image_processor", "feature_extractor")
    return next((one for name in names if (one := getattr(model, name, None)) is not None), tokenizer)


def _continuation(generate: int | Mapping[str, Any], ids: Any, prepared: Prepared) -> dict[str, Any]:
    """How to come by the same continuation again: a sampled one by its ids."""
    if ids is None and not isinstance(generate, Mapping):
        return {"generate": generate}
    read = prepared.tokens if prepared.target is None else prepared.target
    return {"ids": list(read.ids)}


def _source(model: Any, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What was traced, as arguments that Python can be given again; None where they cannot be written as JSON."""
    source = {**loaded_as(model), **{name: value for name, value in given.items() if value}}
    if all(type(value) in _PLAIN for value in source.values()):
        return source
    try:
        return json.loads(json.dumps(source, default=list))
    except (TypeError, ValueError):
        return None


def _run(
    model: Any,
    look: Look,
    tokenizer: Any,
    prepared: Prepared,
    layers: Sequence[int] | None,
    sites: Sequence[str] | None,
    keep: frozenset[str],
    part: int,
    room: Room,
    store: str,
) -> Trace:
    """One forward pass in eval mode, without gradients and without a cache."""
    recorder = Recorder(
        model, keep=keep, layers=layers, sites=sites, own_thread=True, room=room, look=look, store=store
    )
    notes = list(prepared.notes)
    with in_eval(model, look.modules) as was_training, torch.no_grad():
        if was_training:
            notes.append("The model was in training mode; it was put in eval mode for this pass, so dropout is off.")
        with recorder:
            outputs = model(**prepared.inputs)
    _one_row(prepared.inputs, recorder.rows())
    tokens, target = (with_chances(one, outputs, tokenizer) for one in (prepared.tokens, prepared.target))
    return _named(recorder, replace(prepared, tokens=tokens, target=target), notes, part)


def _named(recorder: Recorder, prepared: Prepared, notes: list[str], part: int) -> Trace:
    """The trace; where the names of what was read are not those of the positions, numbers are, and a note says so."""
    given = {"name": prepared.name, "inputs": prepared.inputs, "part": part}
    if not len(prepared.tokens):  # positions get numbers for names
        return recorder.trace(target=prepared.target, notes=notes, **given)
    try:
        return recorder.trace(tokens=prepared.tokens, target=prepared.target, notes=notes, **given)
    except InputError:
        made = recorder.trace(notes=notes, **given)
        if made.tokens.grids:  # its parts are named by themselves: the frames of a video, say
            return made
        note = (
            f"This model attends over other positions than the {len(prepared.tokens)} that it was given, and attnscope does "
            "not know which is which: positions are numbered."
        )
        return recorder.trace(notes=[*notes, note], **given)


def _one_row(inputs: Mapping[str, Any], rows: int) -> None:
    """Refuse a batch in inputs of a model's own, where only its attention shows which axis is the batch. Beside ids, rows are
    images of one text."""
    told = not {"input_ids", "inputs_embeds"}.isdisjoint(inputs)
    for name, value in inputs.items() if rows > 1 and not told else ():
        # [B, …], or [T, B, M] as nn.MultiheadAttention has it
        if isinstance(value, torch.Tensor) and rows in value.shape[: 2 if value.ndim == 3 else 1]:
            raise InputError(
                f"expected one row, got inputs[{name!r}] of shape {list(value.shape)}: attention ran on a batch of "
                f"{rows} rows. Pass one row, or use attnscope.capture and recorder.trace(index=…)."
            )
