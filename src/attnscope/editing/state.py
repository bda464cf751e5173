"""Is a model bit for bit what it was before? Torch counts the writes into every tensor."""

from typing import Any

from torch import Tensor, nn

from attnscope.capturing.listen.hooks import is_own


def state_of(model: nn.Module) -> dict[str, Any]:
    """Of every parameter and buffer which tensor it is, where its numbers lie and how often they were written; of every module its mode, its own
    forward, and how many hooks attnscope has on it (transformers and others put hooks of their own on a model that runs)."""
    found: dict[str, Any] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[name] = id(tensor), _address(tensor), None if tensor.is_inference() else tensor._version
    for path, module in model.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        own = sum(map(is_own, hooks))
        found[f"{path or 'the model'} ({type(module).__name__})"] = own, module.training, vars(module).get("forward")
    return found


def _address(tensor: Tensor) -> int | None:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # one without numbers of its own (fake, sparse)
        return None


def differences(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """The names of what is other."""
    return tuple(name for name in {**before, **after} if before.get(name) != after.get(name))
