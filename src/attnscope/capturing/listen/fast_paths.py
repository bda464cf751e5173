"""What torch's fused paths do beside computing faster, done while the function mode keeps them off.

In eval mode `nn.TransformerEncoder` makes a nested tensor of a padded batch: of each row the first tokens, as many as the mask
shows, and zeros come out behind them. Whether it would do so is torch's own decision: its forward is asked with the mode off,
on a layer that returns what it is given.
"""

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from attnscope.errors import CaptureError
from attnscope.tracing.modules import modules_of


class FastPaths:
    """Hooks on the encoders and attention modules of torch in a `model`, while the function mode is entered."""

    def __init__(self, model: nn.Module) -> None:
        self._local = threading.local()  # padding: of the encoders that run, by id, [B, T]
        self._handles: list[Any] = []
        for module in modules_of(model):
            if isinstance(module, nn.TransformerEncoder) and len(module.layers):
                self._handles += [
                    module.register_forward_pre_hook(self._before_encoder, with_kwargs=True),
                    module.layers[-1].register_forward_hook(self._after_last_layer(id(module))),
                    module.register_forward_hook(self._after_encoder, always_call=True),
                ]
            elif isinstance(module, (nn.TransformerEncoderLayer, nn.MultiheadAttention)):
                self._handles.append(module.register_forward_pre_hook(_refuse_nested, with_kwargs=True))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def _padding(self) -> dict[int, Tensor]:
        if not hasattr(self._local, "padding"):
            self._local.padding = {}
        return self._local.padding

    def _before_encoder(self, encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        if kwargs is None:  # a pass of another thread, between torch's two tables of hooks
            return None
        _refuse_nested(encoder, args, kwargs)
        padding = dropped_rows(encoder, args, kwargs)
        if padding is None:
            return None
        self._padding[id(encoder)] = padding
        if len(args) > 2:
            return (*args[:2], padding, *args[3:]), kwargs
        return args, {**kwargs, "src_key_padding_mask": padding}

    def _after_last_layer(self, encoder: int) -> Any:
        def zero(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            padding = self._padding.get(encoder)
            if padding is None or not isinstance(output, Tensor) or output.shape[:2] != padding.shape:
                return None
            return output.masked_fill(padding[..., None], 0.0)

        return zero

    def _after_encoder(self, encoder: nn.Module, *_: Any) -> None:
        self._padding.pop(id(encoder), None)


def dropped_rows(encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """[B, T], True where a plain pass would drop a row; None where it would not make a nested tensor."""
    mask = args[2] if len(args) > 2 else kwargs.get("src_key_padding_mask")
    if mask is None or len(_get_current_function_mode_stack()) > 1:
        return None  # somebody else's mode keeps torch from it in a plain pass, too
    asked = _Asked(encoder)
    try:
        with torch._C.DisableTorchFunction():
            nn.TransformerEncoder.forward(asked, *args, **kwargs)  # type: ignore[arg-type]
    except Exception:
        return None  # the model's own run of it will say what is wrong
    if not asked.first.saw_nested:
        return None
    lengths = mask.logical_not().sum(dim=1)  # torch takes the first rows, also where the mask shows others
    return torch.arange(mask.shape[1], device=mask.device) >= lengths[:, None]


class _Asked:
    """An encoder with one layer, which does nothing, and no norm."""

    norm = None

    def __init__(self, encoder: Any) -> None:
        self._encoder, self.first = encoder, _FirstLayer(encoder.layers[0])
        self.layers = [self.first]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


class _FirstLayer:
    """A layer that returns what it is given, and notes whether that is nested."""

    saw_nested = False

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def __call__(self, x: Tensor, **_: Any) -> Tensor:
        self.saw_nested = x.is_nested
        return x


def _refuse_nested(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
    if any(isinstance(value, Tensor) and value.is_nested for value in (*args, *(kwargs or {}).values())):
        raise CaptureError(
            f"this model passes nested tensors to {type(module).__name__}. Torch takes them only on its fused path, which is off while "
            "its functions are watched. Capture the model on padded tensors with src_key_padding_mask or key_padding_mask."
        )
