"""The manifest of a survey: its configuration, and its shards as far as they are known."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attnscope.errors import InputError, UnreadableFile
from attnscope.models.language import language_note
from attnscope.surveys.files import failed, sweep, write_whole
from attnscope.surveys.parts import Receipt
from attnscope.surveys.settings import Settings
from attnscope.text.format import count

FORMAT = 1
NAME = "manifest.json"
EVERY = 5.0  # seconds: the parts say themselves what they are, so a manifest that is behind loses nothing


class Manifest:
    """`notes`: what a reader must know, such as where a survey went on somewhere else."""

    def __init__(self, folder: Path, settings: Settings, notes: tuple[str, ...] = ()) -> None:
        self.path, self.settings, self.notes = folder / NAME, settings, notes
        self.receipts: dict[int, Receipt] = {}
        self._written = 0.0

    def add(self, receipt: Receipt) -> None:
        """Of a finished shard."""
        self.receipts[receipt.number] = receipt
        if time.monotonic() - self._written > EVERY:
            self.write()

    def in_order(self) -> list[Receipt]:
        return [self.receipts[number] for number in sorted(self.receipts)]

    def note_language(self) -> None:
        """Say it where the texts seem to be in another language than the model's."""
        receipts = self.receipts.values()
        tokens, special, unknown, characters = (
            sum(getattr(one, name) for one in receipts) for name in ("tokens", "special", "unknown", "characters")
        )
        if note := language_note(tokens - special, unknown, characters):
            self.notes = (*(one for one in self.notes if "another language" not in one), note)

    def note_windows(self) -> None:
        """Say it where documents were longer than the model reads at once."""
        number = sum(one.windowed for one in self.receipts.values())
        if number:
            window = self.settings.options.window
            have, were = ("have", "were") if number != 1 else ("has", "was")
            note = f"{count(number, 'document')} {have} more than {window:,} tokens, and {were} read in windows of so many, each a text."
            self.notes = (*(one for one in self.notes if "read in windows" not in one), note)

    def write(self, finished: bool = False) -> None:
        """Whole or not at all."""
        receipts = self.in_order()
        told = {"format": FORMAT, "finished": finished, **self.settings.told, "notes": [*self.notes]}
        names = ("documents", "set_aside", "tokens", "characters")
        told |= {name: sum(getattr(one, name) for one in receipts) for name in names}
        told["shards"] = [asdict(one) for one in receipts]
        write_whole(self.path, json.dumps(told, indent=1).encode())
        self._written = time.monotonic()


def begin(folder: Path, settings: Settings, resume: bool, tolerate: bool) -> Manifest:
    """A new manifest, or that of a survey to go on with. Raises InputError where the folder is taken, or where the survey in
    it has another configuration."""
    earlier = read(folder) if (folder / NAME).exists() else None
    if earlier is None:
        try:
            taken = folder.exists() and any(folder.iterdir())
        except OSError as error:  # it is a file, or closed
            raise failed(folder, error) from error
        if taken:
            raise InputError(f"expected out as a new or empty folder, got {folder}, which holds other files.")
        made = Manifest(folder, settings)
        made.write()
        return made
    if not resume:
        state = "finished" if earlier.get("finished") else "unfinished"
        raise InputError(
            f"{folder} holds a survey already ({state}). Give another folder, or go on with it: resume=True, or --resume."
        )
    other, rounding = settings.differences(earlier)
    if other:
        raise InputError(
            f"the survey in {folder} cannot be resumed, because its configuration was another: {'; '.join(other)}. Give what it "
            "was begun with, or another folder."
        )
    if rounding and not tolerate:
        raise InputError(
            f"the survey in {folder} was begun elsewhere: {'; '.join(rounding)}. The rest would agree within rounding, not to "
            "the last bit. Go on where it was begun, or allow that: tolerate=True, or --tolerate."
        )
    notes = (
        *earlier.get("notes", ()),
        *(f"went on elsewhere, which claims a tolerance only: {one}" for one in rounding),
    )
    if (folder / "parts").is_dir():
        sweep(folder / "parts")
    sweep(folder)
    return Manifest(folder, settings, notes)


def read(folder: Path) -> dict[str, Any]:
    """Raises UnreadableFile where there is none, or where it is none."""
    path = folder / NAME
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        known = isinstance(told, dict) and told.get("format") == FORMAT
    except OSError as error:
        raise UnreadableFile(
            f"{folder} holds no survey: {NAME} cannot be read ({error.strerror or error}).", error
        ) from error
    except ValueError:
        known, told = False, {}
    if not known:
        raise UnreadableFile(
            f"{path} is not the manifest of a survey that this version of attnscope can read. Give another folder."
        )
    return told
