"""One examination: the model, its tokenizer, what it reads, and what the checks have found so far."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.findings import Finding, finding
from attnscope.tracing.tokens import tokens_of


@dataclass
class Case:
    """One examination. `inputs` goes to the model's forward; `ids` is [B, T] on the CPU, or None.

    texts: the texts as given, or rendered from messages, one per row; () where only ready tensors were given.
    route: "text", "messages" or "inputs".
    """

    model: nn.Module
    tokenizer: Any
    inputs: dict[str, Any]
    ids: Tensor | None
    texts: tuple[str, ...]
    route: str
    pair: str | None = None
    findings: list[Finding] = field(default_factory=list)
    conventions: dict[str, str] = field(default_factory=dict)
    not_examined: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: bool = False  # whether two passes gave numbers that could be compared
    started: bool = False  # whether decoder_input_ids are a start token that the doctor has added

    def report(self, name: str, *, cure: str | None = None, place: str | None = None, **fields: Any) -> None:
        """Add the finding of this id; `fields` fill in its texts, `cure` and `place` replace the general ones."""
        exact = {part: text for part, text in (("cure", cure), ("place", place)) if text is not None}
        self.findings.append(replace(finding(name, **fields), **exact))

    def found(self, *names: str) -> bool:
        return any(finding.name in names for finding in self.findings)

    @property
    def config(self) -> Any:
        return getattr(self.model, "config", None)

    @property
    def mask(self) -> Tensor | None:
        """The padding mask as bool [B, T] on the CPU; None where there is none, or one of another kind."""
        mask = self.inputs.get("attention_mask")
        if isinstance(mask, Tensor) and self.ids is not None and mask.shape == self.ids.shape:
            return mask.cpu() != 0
        return None

    @property
    def decoder(self) -> bool:
        """Whether the model has an encoder and a decoder; a head over the encoder alone takes no decoder_input_ids."""
        return bool(getattr(self.config, "is_encoder_decoder", False)) and self.takes("decoder_input_ids")

    @property
    def generates(self) -> bool:
        """Whether the model continues texts: a decoder with a language model's head."""
        can = getattr(self.model, "can_generate", None)
        return not self.decoder and callable(can) and bool(can())

    def takes(self, name: str) -> bool:
        """Whether the model's forward takes this input. A wrapper that passes on its arguments takes all."""
        parameters = inspect.signature(self.model.forward).parameters
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and "input_ids" not in parameters
        return name in parameters or name in self.inputs or anything

    def visible_ids(self, row: int = 0) -> list[int]:
        """The ids of a row that the mask lets the model see."""
        assert self.ids is not None
        seen = self.ids[row] if self.mask is None else self.ids[row][self.mask[row]]
        return seen.tolist()

    def strings(self, ids: Sequence[int], limit: int = 12) -> str:
        """Tokens by name, on one visible line, for a report."""
        size = len(self.tokenizer) if hasattr(self.tokenizer, "__len__") else None
        tokenizer = self.tokenizer if hasattr(self.tokenizer, "convert_ids_to_tokens") else None
        names = [
            tokens_of(tokenizer, [i]).shown[0] if i >= 0 and (size is None or i < size) else f"#{i}"
            for i in ids[:limit]
        ]
        return " ".join(names) + (" …" if len(ids) > limit else "")

    def row_texts(self) -> tuple[str, ...]:
        """The texts as given; where there are none, the rows of ids, decoded."""
        if self.texts or self.ids is None or not hasattr(self.tokenizer, "decode"):
            return self.texts
        rows = [[i for i in row if 0 <= i < len(self.tokenizer)] for row in self.ids.tolist()]
        # WordPiece decodes with spaces around signs: '< | im _ start | >'.
        return tuple(re.sub(r"\s*([\[\]<>|_])\s*", r"\1", self.tokenizer.decode(row)) for row in rows)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Ids as the tokenizer makes them, with or without the special tokens that it adds."""
        ids = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return torch.as_tensor(ids).reshape(-1).tolist()

    def pad_token(self) -> int | None:
        """The id of the pad token: the tokenizer's, or else the one in the model's configuration."""
        for owner in (self.tokenizer, self.config):
            value = getattr(owner, "pad_token_id", None)
            if isinstance(value, int) and value >= 0:
                return value
        return None

    def embedding(self) -> nn.Embedding | None:
        """The table that input_ids index."""
        try:
            table = self.model.get_input_embeddings()  # pyright: ignore[reportCallIssue]
        except (AttributeError, NotImplementedError):
            return None
        return table if isinstance(getattr(table, "weight", None), Tensor) else None
