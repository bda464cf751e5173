"""A chat with an image in it, written out by the processor's own template."""

from collections.abc import Mapping, Sequence
from typing import Any

from attnscope.errors import InputError
from attnscope.models.encoding import awaits_answer, check_messages


def chat_with_image(reader: Any, messages: Sequence[Mapping[str, Any]], continues: bool) -> str:
    """The text of a chat whose image stands where a message has {"type": "image"}, else before the first message of the
    user. `continues`: the model goes on from here. Raises InputError where it cannot be written."""
    check_messages(messages)
    if not getattr(reader, "chat_template", None):
        raise InputError(
            "this processor has no chat template, so messages cannot be turned into a text: pass text=…, in which the image's "
            "marker stands, such as <image>."
        )
    begins = continues or awaits_answer(messages)
    try:
        return str(reader.apply_chat_template(_with_place(messages), tokenize=False, add_generation_prompt=begins))
    except InputError:
        raise
    except Exception as error:  # a template is a program of the model's authors, and raises what it likes
        raise InputError(
            f"the processor's chat template refuses these messages ({type(error).__name__}: {error}). Give a list such as "
            '[{"role": "user", "content": "What is this?"}], with the roles that this model knows.'
        ) from error


def _with_place(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages, with one place for the image."""
    parts = [part for message in messages for part in _parts(message)]
    places = sum(part.get("type") == "image" for part in parts)
    if places > 1:
        raise InputError(
            f"image= is one image, and the messages have places for {places}: leave one of them, or pass what the processor "
            "makes of all of them as inputs=…."
        )
    user = next((n for n, message in enumerate(messages) if message.get("role") == "user"), None)
    if user is None and not places:
        raise InputError('the image needs a message of the user to stand in: {"role": "user", "content": …}.')
    return [
        {
            **message,
            "content": [
                *([{"type": "image"}] if number == user and not places else []),
                *({"type": "image"} if part.get("type") == "image" else part for part in _parts(message)),
            ],
        }
        for number, message in enumerate(messages)
    ]


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content") or []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content if isinstance(part, Mapping)]
