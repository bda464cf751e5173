"""One architecture: built small, run under a capture, traced and shown. What came of it is a Row."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from attnscope import api
from attnscope.capturing import capture, may_attend
from attnscope.capturing.listen.detect import mixer_names
from attnscope.capturing.mixers import NO_SOFTMAX
from attnscope.coverage.feed import NoInputs, feed
from attnscope.coverage.shrink import Sizes, shrink
from attnscope.coverage.softmaxes import passed_over
from attnscope.coverage.types import class_name
from attnscope.errors import AttnscopeError
from attnscope.tracing.trace import Trace
from attnscope.views.levels import ALWAYS_THERE

# From the best to the worst; the last two say nothing of attnscope.
LABELS = ("exact", "mixed", "weights only", "nothing", "differs", "not attention", "not built")
MOST = 30_000_000  # parameters
_SIZES = (
    Sizes(), Sizes(sections=True), Sizes(groups=4), Sizes(image=64), Sizes(width=64), Sizes(width=48),
    Sizes(width=64, heads=8), Sizes(heads=2, image=64, patch=16), Sizes(fill=True), Sizes(fill=True, layers=3, groups=4),
    Sizes(fill=True, width=64, image=64), Sizes(fill=True, image=256),
    Sizes(wide=True), Sizes(wide=True, fill=True), Sizes(whole=True),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """`label`: one of LABELS. `sites`: how many attention calls a pass has. `extras`: what changes their scores beside
    q · k. `error`: the largest difference from the model's own output, as a part of its largest number. `bypassed`: what
    was seen without q and k, or not at all. `opens`: how many pages were drawn: one at each level, and one of each stack.
    `note`: what else mixes tokens, why it was not built, or what does not work in trace() or show()."""

    model_type: str
    class_name: str
    label: str
    sites: int = 0
    extras: tuple[str, ...] = ()
    error: float = 0.0
    bypassed: tuple[str, ...] = ()
    note: str = ""
    opens: int = 0


def examine(model_type: str) -> Row:
    """Build this type, run it, and say how it is captured. Raises nothing for a model that fails: that is a row too."""
    named = class_name(model_type) or ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model, inputs = _built(model_type, named)
        except _NotBuilt as error:
            return Row(model_type, named, "not built", note=str(error))
        if not may_attend(model):
            named_mixers = mixer_names(model)[:3]
            return Row(model_type, named, "not attention", note=", ".join(named_mixers))
        recorder = None
        try:
            with capture(model) as recorder, torch.no_grad():
                model(**inputs)
            trace = recorder.trace()
        except (AttnscopeError, IndexError) as error:
            attend, mixers = ([], {}) if recorder is None else recorder.mixers()
            if {*mixers.values()} == {NO_SOFTMAX} and (silent := _silent(model, inputs)):
                return Row(model_type, named, "not built", note=f"gives zeros alone here: {', '.join(silent)}")
            if mixers and not attend:
                return Row(model_type, named, "not attention", note=_named(mixers))
            return Row(model_type, named, "nothing", bypassed=_attention(model), note=_short(error))
        opens, note = _shown(model, inputs)
        row = _row(model_type, named, model, trace, "; ".join(filter(None, (_named(recorder.mixers()[1]), note))))
        if parts := passed_over(model, inputs, trace):
            kinds = {f"{_kind(model, path)} ({part})" for path, part in parts.items()}
            label = "mixed" if row.label == "exact" else row.label
            row = replace(row, label=label, bypassed=tuple(sorted({*row.bypassed, *kinds})))
        return replace(row, opens=opens)


def _named(mixers: Mapping[str, str]) -> str:
    return f"other means than attention: {', '.join(sorted(mixers))}" if mixers else ""


def _row(model_type: str, named: str, model: nn.Module, trace: Trace, note: str) -> Row:
    receipts = [(site, site.verify()) for site in trace.sites]
    exact = [site for site, receipt in receipts if receipt.status == "exact"]
    if any(not site.weights_only and site.z is not None and not bool(site.z.any()) for site in trace.sites):
        note = "; ".join(filter(None, ("a call gives zeros alone, which any weights do", note)))
    differs = [
        site for site, receipt in receipts if not site.weights_only and receipt.status not in ("exact", "unchecked")
    ]
    weights = [site for site in trace.sites if site.weights_only]
    # What mixes by other means is no attention that was missed.
    unseen = [path for path in trace.unrecorded if _kind(model, path) not in note]
    without = {*unseen, *(site.path for site in weights)}
    bypassed = tuple(sorted({_kind(model, path) for path in without}))
    if differs:
        label = "differs"
    elif len(exact) == len(receipts) and not unseen:
        label = "exact"
    elif len(weights) == len(receipts) and not unseen:
        label = "weights only"
    else:
        label = "mixed"
    error = max((receipt.max_error for site, receipt in receipts if not site.weights_only), default=0.0)
    return Row(model_type, named, label, len(receipts), _extras(trace), error, bypassed, note)


def _shown(model: nn.Module, inputs: dict[str, Any]) -> tuple[int, str]:
    """How many pages of the trace were drawn, and what did not work; empty where all did: each level where the view opens, and each
    stack."""
    drawn, where = 0, ""
    try:
        view = api.show(model, None, inputs=inputs)
        places: list[dict[str, Any]] = [{"level": level} for level in ALWAYS_THERE]
        for stack in view.trace.stacks if len(view.trace.stacks) > 1 else ():
            layer = next(site.layer for site in view.trace.sites if site.stack == stack)
            places.append({"stack": stack, "layer": layer, "head": 0, "query": 0, "key": None})
        for place in places:
            where = next(iter(place.values())) or ""
            if not view.at(**place).html:
                return drawn, f"show() draws nothing at {where}"
            drawn += 1
    except Exception as error:  # a row tells of any failure
        return drawn, f"show() at {where or 'its opening'}: {_short(error)}"
    return drawn, ""


@torch.no_grad()
def _silent(model: nn.Module, inputs: dict[str, Any]) -> list[str]:
    """Classes of modules named attention that give nothing but zeros here: their kernel needs another device."""
    given: dict[str, bool] = {}

    def look(module: nn.Module, _: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, torch.Tensor):
            name = type(module).__name__
            given[name] = given.get(name, True) and not bool(first.any())

    handles = [m.register_forward_hook(look) for m in model.modules() if "attention" in type(m).__name__.lower()]
    model(**inputs)
    for handle in handles:
        handle.remove()
    return sorted(name for name, zeros in given.items() if zeros)


def _extras(trace: Trace) -> tuple[str, ...]:
    found = {
        "position bias": any(site.position_bias is not None for site in trace.sites),
        "soft cap": any(site.softcap is not None for site in trace.sites),
        "sinks": any(site.sinks is not None for site in trace.sites),
        "shared keys": any(not site.weights_only and site.k.shape[0] < site.heads for site in trace.sites),
        "other value size": any(not site.weights_only and site.v.shape[-1] != site.q.shape[-1] for site in trace.sites),
        "cross": any(site.kind == "cross" for site in trace.sites),
    }
    return tuple(name for name, there in found.items() if there)


def _attention(model: nn.Module) -> tuple[str, ...]:
    names = {type(module).__name__ for module in model.modules()}
    return tuple(sorted(name for name in names if "attention" in name.lower() or "attn" in name.lower()))[:3]


def _kind(model: nn.Module, path: str) -> str:
    try:
        return type(model.get_submodule(path)).__name__
    except AttributeError:
        return path


def _short(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 120 else text[:119] + "…"


# --- building ---------------------------------------------------------------------------------------------------------


class _NotBuilt(Exception):
    """No small model of this type runs here."""


def _built(model_type: str, named: str) -> tuple[Any, dict[str, Any]]:
    import transformers

    kind = getattr(transformers, named, None)
    if kind is None:
        raise _NotBuilt(f"transformers has no {named or 'class for it'}")
    said = ""
    for built in small_models(kind, transformers.CONFIG_MAPPING[model_type]):
        if not isinstance(built, str):
            return built
        said = said or built
    raise _NotBuilt(said)


def small_models(
    kind: Any, config_class: Any, implementation: str | None = None
) -> Iterator[tuple[Any, dict[str, Any]] | str]:
    """A model of the class `kind` and its inputs, or why there are none, for one choice of sizes after the other.
    `implementation`: of its attention, as transformers names it."""
    for sizes in _SIZES:
        try:
            config = shrink(config_class, sizes)
            if implementation is not None:
                config._attn_implementation = implementation
            count = _parameters(kind, config)
            if count > MOST or (count == 0 and (sizes.wide or sizes.whole)):
                yield "too large with the small sizes that are known"
                continue
            torch.manual_seed(0)
            model = kind(config).eval()
            _spread(model)
            yield model, feed(model)
        except NoInputs as error:
            yield f"no inputs found: {error}"
        except Exception as error:  # of transformers' code: sizes that do not fit, a package that is missing
            yield _short(error)


@torch.no_grad()
def _spread(model: nn.Module) -> None:
    """Weights with which attention is not even, and no layer gives zeros: an exact row then says something."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.ndim == 2:
            module.weight.normal_(0, module.weight.shape[1] ** -0.5)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0, 1)


def _parameters(kind: Any, config: Any) -> int:
    """How many numbers the model would have; 0 where that cannot be told without building it, which may then take all memory there is."""
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in kind(config).parameters())
    except Exception:  # models that read a parameter's value while they are built
        return 0
