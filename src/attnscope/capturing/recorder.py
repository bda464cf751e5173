"""capture(): records the attention of any forward pass and makes traces of it.

Kept per call: q, k, v (references, detached; copied where a cache may change them later), the rule of the mask, the
extras, and the returned z for a fixed sample of rows. Nothing of size Q × K survives the call, except where weights are
all there is. README.md beside this file says why this is hard.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

from torch import Tensor

from attnscope.capturing.given import given_names, ids_read, matched, names_of_read
from attnscope.capturing.joined_passes import joined_passes
from attnscope.capturing.mixers import mixer_note, told_apart
from attnscope.capturing.notes import unread_note
from attnscope.capturing.parts import rows_of
from attnscope.capturing.recording import Recording
from attnscope.capturing.refusals import check_model, nothing_recorded
from attnscope.capturing.store import parse_store
from attnscope.capturing.stream.room import ALL, Room
from attnscope.capturing.to_trace import trace_of, unrecorded_of, wanted_of
from attnscope.capturing.whole_batch import whole_batch
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.held import module_of
from attnscope.tracing.modules import Look
from attnscope.tracing.places import parse_keep, parse_layers, parse_part, parse_sites
from attnscope.tracing.site import Site
from attnscope.tracing.stream import spelled_by
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from attnscope.tracing.virtual import with_virtual


class Recorder:
    """Collects the attention calls of one model, in every thread, while its capture is open; made by `capture`.

    `model`, `keep_passes`, `keep`, `layers`, `sites`: see `capture`.
    `all_rows`: keep the output of every query row, not of a sample.
    `own_thread`: record only passes of the thread that opened it.
    `room`: how much of the residual stream is kept, where `keep` names it.
    `look`: at the model's modules, where you have just had one.
    `store`: see `capture`.
    """

    def __init__(
        self,
        model: Any,
        keep_passes: int = 1,
        keep: Collection[str] | str | None = (),
        layers: Sequence[int | str] | SupportsIndex | str | None = None,
        sites: Sequence[str] | str | None = None,
        all_rows: bool = False,
        own_thread: bool = False,
        room: Room = ALL,
        look: Look | None = None,
        store: str = "device",
    ) -> None:
        if isinstance(keep_passes, bool) or not hasattr(keep_passes, "__index__") or keep_passes < 1:
            raise InputError(f"expected keep_passes as a number from 1 on, got {keep_passes!r}.")
        kept, chosen, paths = parse_keep(keep), parse_layers(layers), parse_sites(sites)
        model = module_of(model)
        facts = check_model(model, look)
        numbers = None if chosen is None else frozenset(chosen)
        self.model = model
        settings = all_rows, own_thread, room, None if look is None else look.modules, parse_store(store)
        self._recording = Recording(model, facts, keep_passes, kept, numbers, paths, *settings)

    @property
    def passes(self) -> int:
        """How many forward passes ran; the last `keep_passes` of them are kept."""
        return self._recording.passes.count

    def open(self) -> None:
        """Begin to record; `close` must follow. A with block does both. Raises CaptureError for an unsupported
        transformers.
        """
        self._recording.open()

    def close(self) -> None:
        """Stop recording and take off every hook. What was recorded stays."""
        self._recording.close()

    def __enter__(self) -> "Recorder":
        self.open()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def trace(
        self,
        tokenizer: Any = None,
        input_ids: Any = None,
        *,
        tokens: Tokens | Sequence[str] | None = None,
        target: Tokens | None = None,
        index: int = 0,
        forward: int | slice = -1,
        name: str = "",
        notes: Sequence[str] = (),
        inputs: Mapping[str, Any] | None = None,
        part: int = 0,
    ) -> Trace:
        """A Trace of one row of the batch in one of the kept passes.

        `tokenizer`: spells the ids (None: they are named by their numbers).
        `input_ids`: what the model read, [B, T] or [T]; with a cache, the whole text so far.
        `tokens`: names of the positions, in place of a tokenizer and ids; without either, positions are numbered.
        `target`: names of the decoder's positions, for encoder-decoder models.
        `index`: row of the batch, from 0; negative numbers count from the end.
        `forward`: which kept pass: 0 is the oldest, -1 the last. A slice joins passes that go on from each other through a cache, as those of
            generate() do, to a trace of the whole text; slice(None) takes all that are kept. Beams are followed back from row `index` of the last.
        `name`: what to call the model (default: what its configuration says).
        `notes`: sentences that every view of the trace shows.
        `inputs`: the model's inputs, kept for `Trace.verify(full=True)`.
        `part`: of windows, frames or crops that are too many to lay out (beyond 8,192 positions, or 1,024 where only weights are known), the first that is shown, from 0.

        Raises CaptureError where nothing was recorded or an argument of attention is not understood, and InputError
        where `index`, `forward`, `part`, the tokens, layers= or sites= do not fit.
        """
        recording, passes = self._recording, self._recording.passes
        if isinstance(forward, slice):
            names = {"tokenizer": tokenizer, "input_ids": input_ids, "tokens": tokens, "target": target}
            return self._joined(forward, index, names | {"name": name, "notes": notes, "part": part})
        if not any(kept.order for kept in passes.kept):
            raise CaptureError(self._nothing_recorded())
        if isinstance(forward, bool) or not -len(passes.kept) <= forward < len(passes.kept):
            raise InputError(
                f"forward {forward} is out of range: {len(passes.kept)} of {passes.count} passes are kept (keep_passes="
                f"{passes.most}). Open the capture with a larger keep_passes."
            )
        chosen = passes.kept[forward]
        found = wanted_of(chosen, self.model, recording.layers, recording.sites) if chosen.order else []
        if not found:
            raise CaptureError(self._nothing_recorded())
        reads = chosen.reads
        batch = rows_of(reads, [record for record, _ in found])
        if not -batch <= index < batch:
            raise InputError(f"index {index} is out of range: the batch of that pass has {batch} rows.")
        config, row = getattr(self.model, "config", None), index % batch
        named = given_names(tokenizer, input_ids, tokens, row, reads.token_types)
        last = chosen is passes.kept[-1]
        both = bool(getattr(config, "is_encoder_decoder", False))
        read, target_read = ids_read(reads, both), reads.given.get("decoder_input_ids")
        named = names_of_read(named, tokenizer, read, 0 if both else reads.past, row, reads.token_types)
        target = names_of_read(target, tokenizer, target_read, reads.past, row)
        named, row, more = matched(
            named, tokenizer, read, 0 if both else reads.past, row, self.model, last, reads.token_types
        )
        target, *_ = matched(target, tokenizer, target_read, reads.past, row, self.model, last)
        if named is not None and tokens is None:
            named, target = with_virtual(self.model, named, target)
        unrecorded = unrecorded_of(chosen, recording.ran, passes.recorded)
        unread, mixers = told_apart(self.model, unrecorded, chosen)
        made = trace_of(
            chosen,
            found,
            self.model,
            row,
            named,
            target,
            name=name,
            notes=[*notes, *more, *mixer_note(mixers), *unread_note(unread, chosen.too_long)],
            unrecorded=unrecorded,
            inputs=inputs,
            part=parse_part(part),
        )
        made = made.replace_sites([recording.store.together(site) for site in made.sites])
        return replace(made, streams=spelled_by(made.streams, tokenizer)) if made.streams else made

    def _joined(self, forward: slice, index: int, asked: Mapping[str, Any]) -> Trace:
        """The passes of a slice as one trace. `asked`: the other arguments of `trace`, which are of the last of them."""
        kept = self._recording.passes.kept
        numbers = range(len(kept))[forward]
        if not numbers or numbers.step != 1:
            raise InputError(
                f"forward {forward} joins no passes: {len(kept)} are kept; slice(None) takes all of them, in order."
            )

        def of(number: int, row: int) -> Trace:
            return self.trace(index=row, forward=number, **(asked if number == numbers[-1] else {}))

        rows = max((record.batch for record in kept[numbers[-1]].records), default=1)
        return joined_passes(of, numbers, index % rows if -rows <= index < rows else index, rows)

    def mixers(self) -> tuple[list[str], dict[str, str]]:
        """Of the modules that look like attention, and of which the last pass recorded nothing: the paths of those that may
        attend, and the classes of those that mix tokens by other means, each with what it does."""
        recording, kept = self._recording, self._recording.passes.kept
        if not kept:
            return [], {}
        missing = unrecorded_of(kept[-1], recording.ran, recording.passes.recorded)
        return told_apart(self.model, missing, kept[-1])

    def rows(self) -> int:
        """How many rows the batch of the last pass had, where a module called torch by itself; 1 where none did."""
        batches = [
            record.batch for kept in self._recording.passes.kept[-1:] for record in kept.records if record.direct
        ]
        return min(batches, default=1)

    def whole_batch(self, site: Site) -> tuple[Tensor, Tensor] | None:
        """q [B, H, Q, D] and k [B, Hkv, K, D] of all rows of the batch in one site; None where the rows differ in more than
        their numbers. `site`: of one row of the last pass.
        """
        return whole_batch(self._recording.passes.kept[-1].records, site)

    def _nothing_recorded(self) -> str:
        recording = self._recording
        elsewhere = recording.calls_torch and recording.passes.elsewhere
        kept = recording.passes.kept
        return nothing_recorded(
            self.model, recording.passes.count, [*recording.ran], elsewhere, kept[-1] if kept else None
        )


@contextlib.contextmanager
def capture(
    model: Any,
    keep_passes: int = 1,
    keep: Collection[str] | str | None = (),
    layers: Sequence[int | str] | SupportsIndex | str | None = None,
    sites: Sequence[str] | str | None = None,
    store: str = "device",
) -> Iterator[Recorder]:
    """Record the attention of every forward pass of a model inside the with block.

    Passes of any thread are recorded, except of one that has a capture of its own open on that model. The model's
    outputs stay bit for bit what they are without a capture. Where a module calls torch's attention by itself and not
    through transformers' interface, they agree to 4 ulp, the trace says so, and only the thread that opened the capture
    is seen. On the way out, also by an exception, nothing is left behind.

    `model`: any torch module that attends, not compiled; or what holds one, such as a transformers pipeline.
    `keep_passes`: how many of the last passes to keep, from 1.
    `keep`: what to keep besides q, k and v. "x": the input of each attention module, T × M numbers a layer.
        "pre_rotary": q and k before rotary embedding, as much as q and k. "projections": W_q, W_k and W_v, references
        to the model's parameters, and with them what "pre_rotary" keeps. "stream": the residual stream of the thread that
        opened the capture, some (3 × M + heads × head size) × T numbers a layer.
    `layers`: numbers of the layers to keep (None: all); one number or "L5" is one layer.
    `sites`: module paths of the attention to keep (None: all); a path stands for all below it.
    `store`: where q, k and v are kept: on the model's "device", in main memory ("cpu"), or on "disk", in files that are mapped
        into memory and go away with the trace.

    Raises CaptureError for a compiled model or an unsupported transformers, and InputError for arguments that do not
    fit.

        with attnscope.capture(model) as recorder:
            model(**inputs)
        trace = recorder.trace(tokenizer=tokenizer, input_ids=inputs["input_ids"])
    """
    with Recorder(model, keep_passes, keep, layers, sites, store=store) as recorder:
        yield recorder
