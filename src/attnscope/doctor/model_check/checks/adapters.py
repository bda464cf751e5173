"""Adapters (LoRA) that are loaded and do nothing: all zero, or not taking part in the pass.

They are known by their parameters, lora_A and lora_B; whether one takes part is measured: with other numbers in it, does
the output change? peft is not needed for that.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Chart
from attnscope.doctor.model_check.checks.numerics import short
from attnscope.doctor.model_check.runs import Failed, apart, mode, run

_LORA = re.compile(r"^(?:(?P<owner>.*)\.)?lora_(?:embedding_)?(?P<side>[AB])(?:\.(?P<rest>.*))?$")
Pairs = dict[str, dict[str, Tensor]]  # by the owner's path: its "A" and "B"


def adapters_of(model: nn.Module) -> dict[str, Pairs]:
    """The matrices of each adapter by its name; "adapter" where it has none of its own."""
    found: dict[str, Pairs] = {}
    for name, parameter in model.named_parameters():
        match = _LORA.match(name)
        if match:
            adapter = (match["rest"] or "").removesuffix("weight").strip(".") or "adapter"
            found.setdefault(adapter, {}).setdefault(match["owner"] or "", {})[match["side"]] = parameter
    return found


def examine(chart: Chart, steady: bool) -> None:
    adapters = adapters_of(chart.model)
    if not adapters:
        return
    chart.conventions["adapters"] = ", ".join(adapters)
    zero = [name for name, pairs in adapters.items() if _zero_parts(chart, name, pairs)]
    if zero:
        pairs = adapters[zero[0]]
        owner, reason = _zero_parts(chart, zero[0], pairs)[0]
        chart.find(
            "adapters-zero", f"the adapter {zero[0]!r} is all zero: it adds nothing" if len(zero) == 1 else f"the adapters {', '.join(map(repr, zero))} are all zero: they add nothing",
            why="A fresh LoRA begins with B = 0. Trained weights were not loaded into it, or were not saved.",
            evidence=f"in all {len(pairs)} places {reason}, first in {owner or 'the model'}",
            cure="load the trained adapter, and read what it says about missing and unexpected keys: peft.PeftModel.from_pretrained(model, folder)",
            invariant="an adapter that is loaded changes the output", place=f"{owner}.lora_B",
        )  # fmt: skip
    if not steady:
        chart.not_examined.append("whether adapters take part: the model's outputs cannot be compared")
        return
    active = {name: _takes_part(chart, pairs, name) for name, pairs in adapters.items()}
    idle = [name for name, takes in active.items() if takes is False]
    if idle and len(idle) < len(adapters):
        chart.notes.append(f"Of the adapters {', '.join(adapters)}, {', '.join(idle)} take{'s' * (len(idle) == 1)} no part in the pass.")  # fmt: skip
    elif idle:
        count = sum(len(side) for name in idle for side in adapters[name].values())
        off = next((path for path, m in chart.model.named_modules() if getattr(m, "disable_adapters", False) is True), None)  # fmt: skip
        chart.find(
            "adapters-inactive", f"the adapter{'s' * (len(idle) > 1)} {', '.join(map(repr, idle))} {'is' if len(idle) == 1 else 'are'} loaded and take{'s' * (len(idle) == 1)} no part",
            why="The model answers as it would without.",
            evidence=f"other numbers in all {count} of its matrices do not change the output" + (f"; {off}.disable_adapters is True" if off is not None else ""),
            cure=_switch_on(chart.model, idle[0]), invariant="an adapter that is loaded changes the output", place="the adapter's modules",
        )  # fmt: skip


def _zero_parts(chart: Chart, adapter: str, pairs: Pairs) -> list[tuple[str, str]]:
    """(owner, what is zero) for every place of an adapter, if it is zero in all of them; else nothing, and a note."""
    zero = []
    for owner, sides in pairs.items():
        scaling = getattr(chart.model.get_submodule(owner), "scaling", None)
        scaling = scaling.get(adapter) if isinstance(scaling, dict) else scaling
        empty = [f"lora_{side}" for side, x in sides.items() if not bool(x.any())]
        if empty:
            zero.append((owner, f"{' and '.join(empty)} hold{'s' * (len(empty) == 1)} nothing but zeros"))
        elif isinstance(scaling, (int, float)) and scaling == 0:
            zero.append((owner, "the scaling is 0"))
    if zero and len(zero) < len(pairs):
        note = f"The adapter {adapter!r} is zero in {len(zero)} of its {len(pairs)} places."
        if note not in chart.notes:
            chart.notes.append(note)
    return zero if len(zero) == len(pairs) else []


def _takes_part(chart: Chart, pairs: Pairs, adapter: str) -> bool | None:
    """Whether the output depends on the adapter's numbers; None where that cannot be seen."""
    if any(_merged(chart.model.get_submodule(owner), adapter) for owner in pairs):
        return True
    names = {id(p): n for n, p in chart.model.named_parameters()}
    generator = torch.Generator().manual_seed(3)
    other = {
        names[id(x)]: (0.1 * torch.randn(x.shape, generator=generator)).to(x.device, x.dtype)
        for sides in pairs.values()
        for x in sides.values()
    }
    inputs = short(chart)
    with mode(chart.model):
        before, after = run(chart.model, inputs), run(chart.model, inputs, parameters=other)
    if isinstance(before, Failed) or isinstance(after, Failed):
        return None
    return apart(list(after.values()), list(before.values())) > 0


def _merged(owner: Any, adapter: str) -> bool:
    """peft has added such an adapter to the weights; its own matrices then rest."""
    merged = getattr(owner, "merged_adapters", getattr(owner, "merged", False))
    return adapter in merged if isinstance(merged, (list, tuple, set)) else bool(merged)


def _switch_on(model: Any, adapter: str) -> str:
    if hasattr(model, "enable_adapter_layers"):  # a PeftModel
        return f"model.set_adapter({adapter!r}); where adapters were disabled: model.enable_adapter_layers()"
    if getattr(model, "_hf_peft_config_loaded", False):
        return f"model.set_adapter({adapter!r}); where adapters were disabled: model.enable_adapters()"
    return "switch it on where its module decides whether it is used"
