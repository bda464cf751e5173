"""Where q, k and v of a capture lie: where the model made them, in main memory, or in files that are mapped into it."""

import contextlib
import os
import tempfile
import weakref
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from attnscope.errors import InputError, OutputError
from attnscope.tracing.site import Site

STORES = ("device", "cpu", "disk")


def parse_store(store: Any) -> str:
    """One of STORES. Raises InputError for anything else."""
    if store not in STORES:
        raise InputError(
            f"store is {store!r:.60}; it is one of {', '.join(map(repr, STORES))}: where q, k and v are kept."
        )
    return store


class Store:
    """`kind`: one of STORES. Files of "disk" have no name from the moment they are mapped, where the system allows that: nobody
    can delete or change them, and they are gone when the last tensor is, or the process, however it ends.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._named: list[Path] = []
        weakref.finalize(self, _remove, self._named)

    def keep(self, tensor: Tensor) -> Tensor:
        """The same numbers, where they shall lie. Raises OutputError where the disk does not take them."""
        tensor = tensor.detach() if tensor.requires_grad else tensor  # the graph is the caller's
        if self.kind == "device":
            return tensor
        if self.kind == "cpu" or not tensor.numel():
            return tensor.cpu()
        try:
            return self._mapped(tensor)
        except (OSError, safetensors.SafetensorError) as error:
            size = tensor.numel() * tensor.element_size()
            raise OutputError(
                f"cannot keep {size / 1e6:.1f} MB of q, k and v in {tempfile.gettempdir()}: {error}. Set TMPDIR to a folder "
                'with more room, or use store="cpu".'
            ) from error

    def _mapped(self, tensor: Tensor) -> Tensor:
        handle, name = tempfile.mkstemp(prefix="attnscope-", suffix=".safetensors")
        os.close(handle)
        path = Path(name)
        try:
            safetensors.torch.save_file({"kept": tensor.cpu().contiguous()}, path)
            mapped = safetensors.torch.load_file(path)["kept"]
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if os.name == "nt":  # what is mapped cannot be deleted there
            self._named.append(path)
        else:
            path.unlink()
        return mapped

    def together(self, site: Site) -> Site:
        """The site, with all of its tensors where its q is."""
        if self.kind == "device" or site.weights_only:
            return site
        kept: dict[str, Any] = {"k": self._once(site.k), "v": self._once(site.v)}
        for field in fields(site):
            value = getattr(site, field.name)
            if field.init and isinstance(value, Tensor) and field.name not in kept and value.device != site.q.device:
                kept[field.name] = value.to(site.q.device)
        return replace(site, **kept)

    def _once(self, tensor: Tensor) -> Tensor:
        """Of a cache, which is kept where it is while it grows."""
        return self.keep(tensor) if tensor.device.type != "cpu" else tensor


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
