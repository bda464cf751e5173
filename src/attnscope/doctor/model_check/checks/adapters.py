"""Adapters (LoRA) that are loaded and do nothing: all zero, or without effect on the pass.

They are recognised by their parameters, lora_A and lora_B. Whether one takes part is measured: with other numbers in it,
does the output change? That needs no peft.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.checks.numerics import short
from attnscope.doctor.model_check.runs import Failure, distance, run, training_flags

_LORA = re.compile(r"^(?:(?P<owner>.*)\.)?lora_(?:embedding_)?(?P<side>[AB])(?:\.(?P<rest>.*))?$")
Pairs = dict[str, dict[str, Tensor]]  # by the owner's path: its "A" and "B"


def adapters_of(model: nn.Module) -> dict[str, Pairs]:
    """The matrices of each adapter by its name; "adapter" where it has no name."""
    found: dict[str, Pairs] = {}
    for name, parameter in model.named_parameters():
        match = _LORA.match(name)
        if match:
            adapter = (match["rest"] or "").removesuffix("weight").strip(".") or "adapter"
            found.setdefault(adapter, {}).setdefault(match["owner"] or "", {})[match["side"]] = parameter
    return found


def examine(case: Case, comparable: bool) -> None:
    """`comparable`: whether two passes of the model can be compared."""
    adapters = adapters_of(case.model)
    if not adapters:
        return
    case.conventions["adapters"] = ", ".join(adapters)
    _report_zero(case, adapters)
    if not comparable:
        case.not_examined.append("whether adapters take part: the model's outputs cannot be compared")
        return
    idle = [name for name, pairs in adapters.items() if _takes_part(case, pairs, name) is False]
    if idle and len(idle) < len(adapters):
        verb = "takes" if len(idle) == 1 else "take"
        case.notes.append(f"Of the adapters {', '.join(adapters)}, {', '.join(idle)} {verb} no part in the pass.")
    elif idle:
        count = sum(len(sides) for name in idle for sides in adapters[name].values())
        flags = (path for path, m in case.model.named_modules() if getattr(m, "disable_adapters", False) is True)
        evidence = f"other numbers in all {count} of its matrices do not change the output"
        if (path := next(flags, None)) is not None:
            evidence += f"; {path}.disable_adapters is True"
        subject, is_, take = _subject(idle, "is", "are", "takes", "take")
        case.report(
            "adapters-inactive",
            subject=subject,
            predicate=f"{is_} loaded and {take} no part",
            evidence=evidence,
            cure=_activation(case.model, idle[0]),
        )


def _subject(names: list[str], *verbs: str) -> list[str]:
    """'the adapter …' or 'the adapters …', and of each pair of verbs the one that fits."""
    one = len(names) == 1
    subject = f"the adapter{'' if one else 's'} {', '.join(map(repr, names))}"
    return [subject, *verbs[0 if one else 1 :: 2]]


def _report_zero(case: Case, adapters: dict[str, Pairs]) -> None:
    zero = {name: parts for name, pairs in adapters.items() if (parts := _zero_parts(case, name, pairs))}
    if not zero:
        return
    first, parts = next(iter(zero.items()))
    owner, reason = parts[0]
    subject, is_, adds = _subject(list(zero), "is", "are", "it adds", "they add")
    case.report(
        "adapters-zero",
        subject=subject,
        predicate=f"{is_} all zero: {adds} nothing",
        evidence=f"in all {len(adapters[first])} places {reason}, first in {owner or 'the model'}",
        place=f"{owner}.lora_B",
    )


def _zero_parts(case: Case, adapter: str, pairs: Pairs) -> list[tuple[str, str]]:
    """(owner, what is zero) for every place of an adapter that is zero in all of them; else nothing, and a note."""
    zero = []
    for owner, sides in pairs.items():
        scaling = getattr(case.model.get_submodule(owner), "scaling", None)
        scaling = scaling.get(adapter) if isinstance(scaling, dict) else scaling
        empty = [f"lora_{side}" for side, x in sides.items() if not bool(x.any())]
        if empty:
            zero.append((owner, f"{' and '.join(empty)} {'holds' if len(empty) == 1 else 'hold'} nothing but zeros"))
        elif isinstance(scaling, (int, float)) and scaling == 0:
            zero.append((owner, "the scaling is 0"))
    if zero and len(zero) < len(pairs):
        case.notes.append(f"The adapter {adapter!r} is zero in {len(zero)} of its {len(pairs)} places.")
    return zero if len(zero) == len(pairs) else []


def _takes_part(case: Case, pairs: Pairs, adapter: str) -> bool | None:
    """Whether the output depends on the adapter's numbers; None where the model does not run."""
    if any(_merged(case.model.get_submodule(owner), adapter) for owner in pairs):
        return True
    names = {id(p): n for n, p in case.model.named_parameters()}
    generator = torch.Generator().manual_seed(3)
    other = {
        names[id(x)]: (0.1 * torch.randn(x.shape, generator=generator)).to(x.device, x.dtype)
        for sides in pairs.values()
        for x in sides.values()
    }
    inputs = short(case)
    with training_flags(case.model):
        before, after = run(case.model, inputs), run(case.model, inputs, parameters=other)
    if isinstance(before, Failure) or isinstance(after, Failure):
        return None
    return distance(list(after.values()), list(before.values())) > 0


def _merged(owner: Any, adapter: str) -> bool:
    """Whether peft has added this adapter to the weights, which leaves its own matrices unused."""
    merged = getattr(owner, "merged_adapters", getattr(owner, "merged", False))
    return adapter in merged if isinstance(merged, (list, tuple, set)) else bool(merged)


def _activation(model: Any, adapter: str) -> str:
    """The call that activates an adapter, for the library that loaded it."""
    if hasattr(model, "enable_adapter_layers"):  # a PeftModel
        return f"model.set_adapter({adapter!r}); where adapters were disabled: model.enable_adapter_layers()"
    if getattr(model, "_hf_peft_config_loaded", False):
        return f"model.set_adapter({adapter!r}); where adapters were disabled: model.enable_adapters()"
    return "activate it in the module that decides whether it is used"
