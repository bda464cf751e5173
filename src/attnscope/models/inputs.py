"""From what the user gives (text, pair, chat, ready tensors, a wish to continue) to the model's inputs and the
tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.errors import InputError
from attnscope.models.continuation import (
    Generate,
    as_row,
    check_generate,
    continued,
    decoder_inputs,
    most_of,
    named_target,
    wanted,
)
from attnscope.models.encoding import Encoded, accepts, encode, wanted_by
from attnscope.models.given_tensors import ready_tensors
from attnscope.models.image_tokens import with_image_tokens
from attnscope.models.length import another_tokenizer, check_ids, fit, max_positions as max_positions
from attnscope.models.patches import patch_names
from attnscope.models.sounds import sound_names
from attnscope.tracing.modules import Look, model_name
from attnscope.tracing.places import check_flag
from attnscope.tracing.segments import segments_of_types
from attnscope.tracing.tokens import Tokens, continued_by, tokens_of
from attnscope.tracing.virtual import with_virtual


@dataclass(frozen=True)
class Prepared:
    """Inputs for one forward pass, on the model's device, and the names of what it reads."""

    inputs: dict[str, Any]
    tokens: Tokens
    target: Tokens | None
    name: str
    notes: tuple[str, ...] = field(default=())


def prepare(
    model: Any,
    tokenizer: Any,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    text_target: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    inputs: Mapping[str, Any] | None = None,
    generate: Generate = 0,
    truncate: bool = False,
    ids: Any = None,
    limit: int | None = None,
    reader: Any = None,
    target_tokens: Any = None,
    look: Look | None = None,
) -> Prepared:
    """Check what was given and turn it into Prepared. `ids`: of a finished generation, the prompt's among them. `limit`:
    the most tokens that what holds the model lets through. `reader`: the processor, where there is one. `target_tokens`: names of what the decoder reads.
    `look`: at the model's modules, where you have just had one.

    Raises InputError, which says what to do."""
    given = [name for name, value in (("text", text), ("messages", messages), ("inputs", inputs)) if value is not None]
    if ids is not None and not given:
        inputs, ids, given = {"input_ids": as_row(ids)}, None, ["ids"]
    if len(given) != 1:
        raise InputError(
            f"give exactly one of text, messages and inputs; {'none' if not given else ' and '.join(given)} was given."
        )
    check_generate(generate)
    if ids is not None and wanted(generate):
        raise InputError("ids are a continuation that is finished, and generate makes one: give one of them.")
    most, continues = most_of(generate), wanted(generate) or ids is not None
    check_flag("truncate", truncate)
    notes: list[str] = []
    main = getattr(model, "main_input_name", "input_ids")
    if inputs is None and main in ("pixel_values", "input_values", "input_features"):
        raise InputError(
            f"{type(model).__name__} reads {main}, not text: pass "
            f"{'image=… and the processor, or ' if main == 'pixel_values' else ''}inputs=…, as the model's processor returns them."
        )
    if inputs is not None:
        ready = ready_tensors(model, inputs)
        encoded = Encoded(ready, None, [], segments_of_types(ready.get("token_type_ids")))
    else:
        encoded = encode(tokenizer, text, text_pair, messages, continues=continues)
        notes += another_tokenizer(model, tokenizer)
        ready = wanted_by(model, encoded.inputs)
    device = device_of(model)
    ready = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in ready.items()}
    read, named = ready.get("input_ids"), Tokens(())
    encoder_decoder = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    # DETR's decoder reads learned queries: there is no text to give it.
    encoder_decoder = encoder_decoder and accepts(model, "decoder_input_ids")
    if read is not None and read.ndim == 3 and inputs is not None:  # several codes of sound at a position
        named, read = Tokens(tuple(map(str, range(read.shape[1])))), None
    if read is not None:
        check_ids(model, tokenizer, read)
        known = {"encoding": encoded.encoding, "texts": encoded.texts, "segments": encoded.segments}
        named = with_image_tokens(model, tokens_of(tokenizer, read[0].tolist(), **known), ready)
        ready, kept = fit(model, ready, 0 if encoder_decoder else most, truncate, limit, look)
        if len(kept) < len(named):
            notes.append(
                f"The text was cut to the {len(kept)} tokens that this model can read, of {len(named)}; its last token was kept."
            )
            named = named.select(kept)
        made_for = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        if isinstance(made_for, int) and len(named) + most > made_for and max_positions(model, look) is None:
            notes.append(f"The text is longer than the {made_for} tokens that this model was made for.")
    target = None
    if encoder_decoder:
        ready, target, note = decoder_inputs(model, tokenizer, ready, text_target, generate, device, ids)
        notes += [note] if note else []
        target = target if target_tokens is None else named_target(target_tokens, target)
    elif target_tokens is not None:
        raise InputError(
            "target_tokens name what a decoder reads, and this model has no decoder of its own; leave them out."
        )
    elif text_target is not None:
        raise InputError(
            "text_target is for encoder-decoder models, and this one has no decoder of its own; leave it out."
        )
    elif continues:
        if read is None:
            raise InputError("generate continues a text: give text, messages, or input_ids among the inputs.")
        ready, border, note = continued(model, ready, generate, ids)
        check_ids(model, tokenizer, ready["input_ids"])
        named = continued_by(named, tokenizer, ready["input_ids"][0, border:].tolist())
        notes.append(note)
    tokens = named if len(named) else patch_names(model, ready)
    if not len(tokens):
        tokens, note = sound_names(model, reader, ready)
        notes += [note] if note else []
    if read is not None:
        tokens, target = with_virtual(model, named, target)
    if "use_cache" not in ready and getattr(getattr(model, "config", None), "use_cache", None):
        ready["use_cache"] = False
    name = model_name(model)
    return Prepared(
        ready,
        tokens,
        target,
        name.rstrip("/").split("/")[-1] if name.startswith("/") else name,
        tuple(notes),
    )


def device_of(model: Any) -> torch.device:
    """Where its inputs go: the device of its first parameter that is not kept elsewhere, as accelerate keeps some."""
    for parameter in model.parameters() if isinstance(model, nn.Module) else ():
        if not parameter.is_meta:
            return parameter.device
    return torch.device("cpu")
