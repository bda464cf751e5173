"""The functions of torch that the trail follows, and the name of what each does."""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_NAMES: dict[str, tuple[Any, ...]] = {
    "add": (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__, Tensor.add_),
    "sub": (torch.sub, Tensor.sub, Tensor.__sub__, Tensor.__isub__, Tensor.sub_),
    "mul": (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__, Tensor.mul_),
    "div": (torch.div, Tensor.div, Tensor.__truediv__, Tensor.__itruediv__, Tensor.div_, torch.true_divide),
    "neg": (torch.neg, Tensor.neg, Tensor.__neg__),
    "mean": (torch.mean, Tensor.mean),
    "same": (
        *(Tensor.to, Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.double, Tensor.type, Tensor.type_as),
        *(
            Tensor.contiguous,
            Tensor.clone,
            torch.clone,
            Tensor.detach,
            Tensor.cuda,
            Tensor.cpu,
        ),
    ),
    "dropout": (F.dropout, torch.dropout),
    "layer_norm": (F.layer_norm, torch.layer_norm),
    "rms_norm": (F.rms_norm, torch.rms_norm),
    "linear": (F.linear,),
    "addmm": (torch.addmm, Tensor.addmm),
    "matmul": (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm),
    "tanh": (torch.tanh, Tensor.tanh, F.tanh),
    "reshape": (
        *(Tensor.view, Tensor.reshape, torch.reshape, Tensor.flatten, torch.flatten, Tensor.unflatten),
        *(torch.unflatten, Tensor.view_as, Tensor.reshape_as),
    ),
    "transpose": (torch.transpose, Tensor.transpose, torch.swapaxes, Tensor.swapaxes, Tensor.swapdims),
    "permute": (torch.permute, Tensor.permute),
    "unsqueeze": (torch.unsqueeze, Tensor.unsqueeze),
    "getitem": (Tensor.__getitem__,),
    "pieces": (
        *(torch.chunk, Tensor.chunk, torch.split, Tensor.split, torch.unbind, Tensor.unbind),
        *(torch.tensor_split, Tensor.tensor_split, Tensor.split_with_sizes, torch.split_with_sizes),
    ),
    "cat": (torch.cat, torch.concat),
    "stack": (torch.stack,),
    "attention": (
        F.scaled_dot_product_attention,
        torch.bmm,
        Tensor.bmm,
        torch.einsum,
        torch.baddbmm,
        F.multi_head_attention_forward,
    ),
    "copy": (Tensor.copy_,),
    "expand": (Tensor.expand, Tensor.expand_as),
}

TABLE: dict[Any, str] = {function: name for name, functions in _NAMES.items() for function in functions}
CHANGES_IN_PLACE = frozenset(
    {
        Tensor.__iadd__,
        Tensor.add_,
        Tensor.__isub__,
        Tensor.sub_,
        Tensor.__imul__,
        Tensor.mul_,
        Tensor.__itruediv__,
        Tensor.div_,
    }
)


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str, default: Any = None) -> Any:
    """An argument that may be given by its place or by its name."""
    return args[place] if len(args) > place else kwargs.get(name, default)


def whole_number(value: Any) -> bool:
    """Whether it is an axis."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return True
