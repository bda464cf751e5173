"""Documents as the model reads them: token ids, and windows of those that are too long."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from attnscope.surveys.documents import Document
from attnscope.tracing.tokenizer_facts import special_ids

FULL = 0.97  # of a window, where a text is cut by its characters


@dataclass(frozen=True, eq=False)
class Text:
    """What the model reads at once: a document, or a window of one. `name`: the document's id, with "#1", "#2" … for the
    windows behind the first. `inputs`: by name, one number a token."""

    name: str
    source: str
    row: int
    text: str
    inputs: dict[str, list[int]]
    special: tuple[bool, ...]

    @property
    def ids(self) -> list[int]:
        return self.inputs["input_ids"]

    def __len__(self) -> int:
        return len(self.special)


class Encoder:
    """The tokenizer of a survey. `window`: the most tokens that the model reads at once; None: any number. `quotes`: whether
    the reason why a text cannot be used may say the tokenizer's own words, in which the text may stand."""

    def __init__(self, tokenizer: Any, window: int | None, quotes: bool = True) -> None:
        self.tokenizer, self.window, self.quotes = tokenizer, window, quotes
        markers = special_ids(tokenizer)
        self._told = bool(getattr(tokenizer, "is_fast", False))
        if self._told:  # see tracing.tokens.tokens_of
            markers = markers - {getattr(tokenizer, name, None) for name in ("mask_token_id", "unk_token_id")}
        self._markers = markers

    def texts(self, documents: Sequence[Document]) -> tuple[list[Text], list[tuple[Document, str]]]:
        """The texts of the documents in their order, and those that cannot be used, each with its reason."""
        good = [one for one in documents if not one.reason]
        aside = [(one, one.reason) for one in documents if one.reason]
        texts: list[Text] = []
        for document, read in zip(good, self._read([one.text for one in good]), strict=True):
            if isinstance(read, str):
                aside.append((document, read))
                continue
            made = self._made(document, document.text, read, 0)
            if self.window is not None and len(made) > self.window:
                texts += self._windows(document, len(made))
            elif len(made) - sum(made.special) < 2:
                aside.append((document, "it has fewer than two tokens"))
            else:
                texts.append(made)
        return texts, aside

    def _read(self, texts: list[str]) -> list[dict[str, list[int]] | str]:
        """Of each text, what the tokenizer makes of it; a reason where it fails."""
        if not texts:
            return []
        try:
            read = self.tokenizer(
                texts, return_special_tokens_mask=True, truncation=False, padding=False, verbose=False
            )
            return [{name: list(read[name][row]) for name in read} for row in range(len(texts))]
        except Exception as error:  # of the tokenizer's own code
            if len(texts) == 1:
                own = f": {str(error)[:80]}" if self.quotes else ""
                return [f"the tokenizer fails on it ({type(error).__name__}{own})"]
            return [self._read([text])[0] for text in texts]

    def _made(self, document: Document, text: str, read: dict[str, list[int]], window: int) -> Text:
        flags = read.pop("special_tokens_mask", None)
        ids = read["input_ids"]
        told = flags if self._told and flags is not None else [0] * len(ids)
        special = tuple(bool(flag) or i in self._markers for flag, i in zip(told, ids, strict=True))
        name = f"{document.name}#{window}" if window else document.name
        return Text(name, document.source, document.row, text, read, special)

    def _windows(self, document: Document, tokens: int) -> Iterator[Text]:
        """A long document, cut where a word begins. The last window may be short."""
        assert self.window is not None
        rest, number = document.text, 0
        step = max(1, int(len(rest) * self.window / tokens * FULL))
        while rest.strip():
            size = min(len(rest), step)
            while True:
                piece = _cut(rest, size)
                (read,) = self._read([piece])
                made = None if isinstance(read, str) else self._made(document, piece, read, number)
                if made is None or len(made) <= self.window or size < 2:
                    break
                size = max(1, int(min(size, len(piece)) * min(0.9, self.window / len(made))))
            if made is not None and len(made) <= self.window and len(made) - sum(made.special) >= 2:
                yield made
                number += 1
            rest = rest[len(piece) :].lstrip()


def _cut(text: str, size: int) -> str:
    """At most `size` characters from the beginning, to the end of a word where one ends in the second half of them."""
    if len(text) <= size:
        return text
    space = max(text.rfind(" ", size // 2, size + 1), text.rfind("\n", size // 2, size + 1))
    return text[: space if space > 0 else size]
