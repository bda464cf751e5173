"""The embedding and the unembedding of a model, with the norms that stand between them and a head."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.errors import InputError
from attnscope.tracing.modules import in_eval
from attnscope.tracing.site import Site


class Vocabulary:
    """W_E, [V, M], and W_U, [V, M]; None where the model has no unembedding.

    A norm stands before most layers, and before the unembedding. Which one is seen in a pass over a few ids: the module
    called a norm in whose output the layer reads, by its memory. Its gain is what it makes of a vector with
    mean 0 and variance 1: that holds for layer norms, RMS norms, and gains stored as 1 + g.
    """

    def __init__(self, model: Any) -> None:
        embedding, unembedding = _table(model, "get_input_embeddings"), _table(model, "get_output_embeddings")
        if embedding is None:
            raise InputError(
                f"expected model as the model that was traced, with an embedding of token ids, got {type(model).__name__}. "
                "Without it, ask for copying and query_key, which need no model."
            )
        self.before, self.last = _norms_before(model, unembedding)
        self.embedding = embedding.weight.detach().cpu().double()
        self.unembedding = None if unembedding is None else unembedding.weight.detach().cpu().double()
        fits = self.unembedding is not None and self.unembedding.shape[1] == self.embedding.shape[1]
        self._back = self.embedding.T @ self.embedding
        self._out = None
        if fits and self.unembedding is not None:
            self._out = _read_by(self.unembedding, self.last).T @ self.embedding

    def fits(self, site: Site) -> bool:
        """Whether the heads of this site read vectors as wide as the embedding's. ALBERT's do not: a layer widens them first."""
        return site.w_v is None or site.w_v.weight(0).shape[1] == self.embedding.shape[1]

    def around(self, site: Site) -> tuple[Float[Tensor, "M M"] | None, Float[Tensor, "M M"]]:
        """(W_U W_E, W_E W_E) as the head of this site sees them: from its output to its input, and from query to key."""
        width, norm = self.embedding.shape[1], self.before.get(site.path)
        if site.w_v is not None and not self.fits(site):
            raise InputError(
                f"expected model as the one that was traced, with an embedding as wide as what {site.name} reads, "
                f"{site.w_v.weight(0).shape[1]}; got one whose embedding is {width} wide."
            )
        out = None if self._out is None else _through(self._out, norm)
        return out, _through(_through(self._back, norm).T, norm)


def _table(model: Any, name: str) -> Any:
    """A table with a weight of one row a token."""
    try:
        found = getattr(model, name)()
    except (AttributeError, NotImplementedError):
        return None
    return found if isinstance(getattr(found, "weight", None), Tensor) else None


def _read_by(matrix: Float[Tensor, "R M"], norm: nn.Module | None) -> Float[Tensor, "R M"]:
    """`matrix` · L, where L is the linear part of the norm: what `matrix` makes of a vector that goes through it."""
    if norm is None:
        return matrix
    gain, centred = linear_part(norm, matrix.shape[1])
    return _centred(matrix * gain) if centred else matrix * gain


def _through(matrix: Float[Tensor, "R M"], norm: nn.Module | None) -> Float[Tensor, "R M"]:
    """`matrix` · Lᵀ: each row sent through the norm, without its division by the row's size."""
    if norm is None:
        return matrix
    gain, centred = linear_part(norm, matrix.shape[1])
    return (_centred(matrix) if centred else matrix) * gain


def _centred(matrix: Float[Tensor, "R M"]) -> Float[Tensor, "R M"]:
    return matrix - matrix.mean(-1, keepdim=True)


def linear_part(norm: nn.Module, size: int) -> tuple[Float[Tensor, " M"], bool]:
    """The gain of a norm, and whether it takes the mean away."""
    some = next(iter(norm.parameters()), torch.zeros(1))
    probe = torch.ones(size)
    probe[1::2] = -1
    if size % 2:
        probe[-3:] = torch.tensor([1.0, 1.0, -2.0]) / 2**0.5
    probe = probe.to(some)[None, None]
    with torch.no_grad():
        made, turned, moved = norm(probe), norm(-probe), norm(probe + 1)
    gain = ((made - turned) / 2 / probe).reshape(-1)
    centred = torch.allclose(made.float(), moved.float(), rtol=1e-3, atol=1e-3 * float(made.float().abs().max()))
    return gain.cpu().double(), centred


def _norms_before(model: nn.Module, last: nn.Module | None) -> tuple[dict[str, nn.Module], nn.Module | None]:
    """By the path of a module: the norm whose output it reads; and the one that the unembedding reads."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    read: dict[nn.Module, nn.Module] = {}

    def after(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            made[output.untyped_storage().data_ptr()] = module, output  # held, so that no other tensor gets its memory

    def before(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        first = next((one for one in (*given, *named.values()) if isinstance(one, Tensor)), None)
        if first is not None and (found := made.get(first.untyped_storage().data_ptr())) is not None:
            read.setdefault(module, found[0])

    ids = torch.tensor([[1, 2, 3]], device=next(model.parameters()).device)
    with _hooks(model, after, before), in_eval(model), torch.no_grad():
        try:
            model(input_ids=ids)
        except Exception as error:
            raise InputError(
                f"expected a model that reads token ids alone, and {type(model).__name__} could not read three of them "
                f"({type(error).__name__}). Ask for copying and query_key, which need no model."
            ) from None
    names = {module: name for name, module in model.named_modules()}
    return {names[module]: norm for module, norm in read.items()}, None if last is None else read.get(last)


@contextmanager
def _hooks(model: nn.Module, after: Any, before: Any) -> Iterator[None]:
    handles = []
    for module in model.modules():
        if "norm" in type(module).__name__.lower():
            handles.append(module.register_forward_hook(after))
        else:
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
