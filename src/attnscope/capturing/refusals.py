"""What to say where nothing can be captured, and why."""

from collections.abc import Sequence

from torch import nn

from attnscope.capturing.listen.detect import mixer_names
from attnscope.capturing.listen.facts import Facts, facts_of
from attnscope.capturing.mixers import told_apart
from attnscope.capturing.notes import TOO_LONG
from attnscope.capturing.records import Pass
from attnscope.capturing.sites import several
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.modules import Look


def check_model(model: nn.Module, look: Look | None = None) -> Facts:
    """What its modules are. `look`: at them, where you have just had one. Raises InputError for what is no model, and
    CaptureError for a compiled one."""
    if not isinstance(model, nn.Module):
        raise InputError(
            f"expected the model, a torch module, as the first argument, got {type(model).__name__}. attnscope.load(name) "
            "gives a model and its tokenizer."
        )
    facts = facts_of(model, look)
    if facts.compiled:
        raise CaptureError(
            "this model was compiled, so its attention calls cannot be observed. Capture the model before torch.compile; "
            "of compiled = torch.compile(model) that is compiled._orig_mod."
        )
    return facts


def may_attend(model: nn.Module, look: Look | None = None) -> bool:
    """Whether there is anything in the model that a capture could see. `look`: at its modules, where you have just had one."""
    return facts_of(model, look).may_attend


def no_attention(model: nn.Module) -> str:
    """Why a model without attention cannot be read: the modules it has, and another way."""
    names = sorted({type(module).__name__ for module in model.modules()})
    mixers = mixer_names(model)
    mixed = f"Its tokens are mixed by other means: {', '.join(mixers[:6])}. " if mixers else ""
    return (
        f"it has no attention that attnscope can read. {mixed}Its modules are: {', '.join(names[:16])}"
        f"{' …' if len(names) > 16 else ''}. Query, key and value tensors of your own can be looked at with Trace.from_qkv."
    )


def nothing_recorded(
    model: nn.Module, passes: int, ran: Sequence[str], only_elsewhere: bool, last: Pass | None = None
) -> str:
    """Why a capture holds no attention. `ran`: paths of the attention-like modules that ran. `only_elsewhere`: the
    model calls torch by itself, and ran in a thread that the capture does not see. `last`: the last pass."""
    kind, ran = type(model).__name__, sorted(ran)
    if passes == 0 and not ran:
        return (
            "no forward pass of this model ran inside the capture, so there is nothing to show: call the model "
            "(or model.generate) inside the with block."
        )
    if only_elsewhere:
        return (
            f"{kind} ran in another thread. It calls torch's attention by itself and not through transformers' interface, "
            "and such calls are seen only in the thread that opened the capture: run the model in that thread."
        )
    attend, mixers = told_apart(model, ran, last)
    if mixers and not attend:
        named = "; ".join(f"{name} ({what})" for name, what in sorted(mixers.items()))
        return (
            f"{kind} ran, but it mixes its tokens by other means than attention with keys, so there are no weights to show: "
            f"{named}. Modules that look like attention: {', '.join(ran[:12])}{' …' if len(ran) > 12 else ''}."
        )
    if last is not None and last.too_long:
        return f"{kind} ran, but no attention can be shown of it. In {several(sorted(last.too_long))} {TOO_LONG}."
    if ran:
        return (
            f"{kind} ran, but none of its attention went through transformers' attention interface or torch's "
            "scaled_dot_product_attention and nn.MultiheadAttention, or was one softmax over all keys. Modules that look "
            f"like attention: {', '.join(ran[:12])}{' …' if len(ran) > 12 else ''}. attnscope cannot read this architecture "
            "yet."
        )
    return f"{kind} ran, but {no_attention(model)}"
