"""Whether the tensors of a site are still there: who traced may have freed or moved them since."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from attnscope.errors import NotCaptured


class Keeps(Protocol):
    """A site, as far as this asks."""

    @property
    def name(self) -> str: ...

    @property
    def kept(self) -> Mapping[str, Tensor]: ...


def check_at_hand(site: Keeps) -> None:
    """Raises NotCaptured where tensors of the site were freed, or moved to devices apart."""
    for name, tensor in site.kept.items():
        if tensor.is_meta or (tensor.numel() > 0 and tensor.untyped_storage().nbytes() == 0):
            raise NotCaptured(f"{name} of {site.name} was freed after it was captured. Trace the text again.")
    devices = {name: str(tensor.device) for name, tensor in site.kept.items()}
    if len(set(devices.values())) > 1:
        where = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise NotCaptured(f"the tensors of {site.name} were moved apart: {where}. Move them to one device.")
