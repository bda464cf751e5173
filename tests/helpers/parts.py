"""Small modules of the tests' own that attend through transformers' interface, and jobs side by side."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def plain_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> Any:
    """[B, H, Q, D] -> [B, Q, H, D], and no weights."""
    return F.scaled_dot_product_attention(query, key, value, attention_mask).transpose(1, 2).contiguous(), None


def steered_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> Any:
    """As above, but with a tensor argument that changes the result: it moves the queries."""
    return plain_attention(module, query + options["steering"], key, value, attention_mask)


class Attention(nn.Module):
    """3 heads of size 5."""

    def __init__(self, attend: Any = plain_attention, **options: Any) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(15, 15) for _ in range(4))
        self.attend, self.options = attend, options

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (3, 5)).transpose(1, 2)

    def mixed(self, x: Tensor) -> Tensor:
        interface = ALL_ATTENTION_FUNCTIONS.get_interface("eager", self.attend)
        q, k, v = (self.heads(layer(x)) for layer in (self.q, self.k, self.v))
        return interface(self, q, k, v, None, **self.options)[0].flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.mixed(x))


class GatedAttention(Attention):
    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.mixed(x) * torch.sigmoid(x))


class Layers(nn.Module):
    """A model: attention modules in a row, with residual connections."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x


def Gated() -> Layers:
    return Layers(GatedAttention())


class MyAttention(nn.Module):
    """Attention that asks nobody and has no softmax (a linear one): it cannot be captured."""

    def forward(self, x: Tensor) -> Tensor:
        seen = F.elu(x) + 1
        return seen @ (seen.transpose(-1, -2) @ x) / x.shape[-2]


def in_threads(*jobs: Callable[[], None]) -> None:
    """Run jobs side by side; the first error of any is raised here."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]
