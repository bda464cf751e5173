"""The same small architectures through BertViz's neuron view, TransformerLens and attnscope, where each claims support.

    python benchmarks/coverage.py            # some minutes; writes its section of benchmarks/RESULTS.md
    python benchmarks/coverage.py --popular  # the types of attnscope's own tests; writes the section too
    python benchmarks/coverage.py --quick    # six architectures; prints only

Every architecture of transformers that TransformerLens's list of adapters or BertViz's neuron view names is built small with
random weights and run with eager attention. Its own `attentions` are the truth. Of each tool two things are compared with
them: the weights that it gives, and the weights that come out of the q and k that it gives, with what it says of scaling, mask
and bias. "exact": both within 1e-5 · the largest weight. "weights only": the weights are right, and q and k do not give
them. "approximate": the weights differ. "refused": an error, or no weights. Layers are compared in their order, of the text's own stack.
"""

import argparse
import contextlib
import importlib.metadata
import io
import math
import os
import platform
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# TransformerLens runs `pip install` by itself for some architectures: here it must not find anything.
os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}

import torch
from results import write_section
from torch import Tensor

NEURON_VIEW = ("BertModel", "GPT2Model", "RobertaModel")  # what BertViz's neuron view can load
QUICK = (
    "BertForMaskedLM",
    "GPT2LMHeadModel",
    "LlamaForCausalLM",
    "T5ForConditionalGeneration",
    "GptOssForCausalLM",
    "BloomForCausalLM",
)
NEAR = 1e-5
LABELS = ("exact", "weights only", "approximate", "refused")


class Given(NamedTuple):
    """Of one layer: the weights [H, Q, K], and those computed from its q and k; None where a tool gives none."""

    weights: Tensor | None
    from_qk: Tensor | None


class Verdict(NamedTuple):
    label: str
    error: float = math.nan
    note: str = ""


# --- the models -------------------------------------------------------------------------------------------------------


def build(name: str) -> tuple[Any, dict[str, Any], list[Tensor]]:
    """A small model of this class, inputs for it, and its own weights of every layer that has some."""
    import transformers

    from attnscope.coverage.examine import small_models

    kind, said = getattr(transformers, name), ""
    for built in small_models(kind, kind.config_class, "eager"):
        if isinstance(built, str):
            said = said or built
            continue
        model, inputs = built
        model.config.architectures = [name]  # TransformerLens chooses its adapter by it
        try:
            with torch.no_grad():
                output = model(**inputs, output_attentions=True, use_cache=False)
            return model, inputs, truth(output)
        except Exception as error:
            said = said or f"{type(error).__name__}: {error}"
    raise RuntimeError(said)


def truth(output: Any) -> list[Tensor]:
    """A model's own weights, [H, Q, K] a layer: encoder first, then for each decoder layer its own and the cross ones. Those of one
    softmax over both (T5Gemma 2) are put together."""
    found = [*(getattr(output, "encoder_attentions", None) or ())]
    if any(isinstance(x, Tensor) and x.shape[-1] != x.shape[-2] for x in found):
        raise RuntimeError("gives its own weights as bands, and not as queries × keys")  # LED
    found += getattr(output, "attentions", None) or ()
    own, cross = getattr(output, "decoder_attentions", None) or (), getattr(output, "cross_attentions", None) or ()
    for pair in zip(own, cross, strict=False):
        merged = not torch.allclose(pair[0].sum(-1), torch.ones(()), atol=1e-3)
        found += [torch.cat(pair, -1)] if merged else pair
    found += () if cross else own
    found = [x[0].float() for x in found if isinstance(x, Tensor) and x.ndim == 4]
    if not found:
        raise RuntimeError("gives no attentions of its own")
    return found


# --- the tools --------------------------------------------------------------------------------------------------------


def with_attnscope(model: Any, inputs: dict[str, Any]) -> list[Given]:
    import attnscope

    with attnscope.capture(model) as recorder, torch.no_grad():
        model(**inputs)
    trace = recorder.trace()
    assert all(site.weights_only or site.verify().status == "exact" for site in trace.sites)
    return [Given(site.weights(), None if site.weights_only else site.weights()) for site in trace.sites]


def with_bertviz(model: Any, inputs: dict[str, Any]) -> list[Given]:
    """BertViz's copy of the class, with the same weights in it, and the tensors that its neuron view draws."""
    from bertviz import transformers_neuron_view as copies

    base = model.base_model
    kind = getattr(copies, type(base).__name__)
    config = kind.config_class(vocab_size_or_config_json_file=base.config.vocab_size)
    for key, value in base.config.to_dict().items():
        if key in vars(config):
            setattr(config, key, value)
    config.output_attentions = True
    copy = kind(config).eval()
    missing = [key for key in copy.load_state_dict(base.state_dict(), strict=False).missing_keys if "pooler" not in key]
    missing = [key for key in missing if not key.endswith("attn.bias")]  # GPT-2's causal mask, which is no weight
    if missing:
        raise RuntimeError(f"weights without a place: {', '.join(missing[:3])}")
    with torch.no_grad():
        layers = copy(inputs["input_ids"])[-1]
    return [
        Given(layer["attn"][0], recomputed(layer["queries"][0], layer["keys"][0], layer["attn"][0])) for layer in layers
    ]


def with_lens(model: Any, inputs: dict[str, Any]) -> list[Given]:
    from tokenizers import Tokenizer, models
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    bridge = TransformerBridge.boot_transformers("small/model", hf_model=model, tokenizer=tokenizer)
    given = dict(inputs)
    main = given.pop("input_ids", None)
    if main is None:
        main = given.pop(next(iter(given)))
    with torch.no_grad():
        _, cache = bridge.run_with_cache(main, **{k: v for k, v in given.items() if k != "attention_mask"})
    names = [name for name in cache if name.endswith("hook_pattern")]
    if not names:
        raise RuntimeError("its cache has no patterns")
    return [layer_of(cache, name) for name in names]


def layer_of(cache: Any, name: str) -> Given:
    """What TransformerLens's cache holds of one attention: the pattern, and q and k, before or after rotary."""
    stem = name.removesuffix("hook_pattern")
    pattern = cache[name][0].float()
    pairs = (("hook_rot_q", "hook_rot_k"), ("hook_q", "hook_k"), ("q.hook_out", "k.hook_out"))
    best: Tensor | None = None
    for q_name, k_name in pairs:
        if stem + q_name in cache and stem + k_name in cache:
            q, k = heads_first(cache[stem + q_name], pattern), heads_first(cache[stem + k_name], pattern)
            if q is not None and k is not None:
                made = recomputed(q, k, pattern)
                if best is None or difference(made, pattern) < difference(best, pattern):
                    best = made
    return Given(pattern, best)


def heads_first(x: Tensor, pattern: Tensor) -> Tensor | None:
    """[H, T, D] of whatever shape the cache has it in."""
    x = x[0].float()
    if x.ndim == 2:
        return x.unflatten(-1, (len(pattern), -1)).movedim(1, 0) if x.shape[-1] % len(pattern) == 0 else None
    if x.ndim != 3:
        return None
    return x if x.shape[1] in pattern.shape[1:] and x.shape[0] <= len(pattern) else x.movedim(1, 0)


def recomputed(q: Tensor, k: Tensor, pattern: Tensor) -> Tensor:
    """Weights of q and k, scaled by the root of their size or not at all, whichever is nearer, hidden where the pattern is zero."""
    if len(q) % len(k) or q.shape[1:2] != pattern.shape[1:2] or k.shape[1] != pattern.shape[2]:
        return torch.full_like(pattern, math.nan)
    k = k.repeat_interleave(len(q) // len(k), 0)
    made = [
        (q @ k.mT * scaling).masked_fill(pattern == 0, -math.inf).softmax(-1) for scaling in (q.shape[-1] ** -0.5, 1)
    ]
    return min(made, key=lambda one: difference(one, pattern))


TOOLS: dict[str, Callable[[Any, dict[str, Any]], list[Given]]] = {
    "attnscope": with_attnscope, "TransformerLens": with_lens, "BertViz": with_bertviz,
}  # fmt: skip


# --- the verdict ------------------------------------------------------------------------------------------------------


def difference(one: Tensor | None, other: Tensor) -> float:
    if one is None or one.shape != other.shape or bool(one.isnan().any()):
        return math.inf
    return float((one - other).abs().max() / other.abs().max())


def judge(given: Sequence[Given], own: Sequence[Tensor]) -> Verdict:
    """Each of the model's own layers finds the layer of the tool that is nearest to it: hooks have an order of their own."""
    worst, from_qk = 0.0, 0.0
    for weights in own:
        nearest = min(given, key=lambda one: difference(one.weights, weights))
        worst = max(worst, difference(nearest.weights, weights))
        from_qk = max(from_qk, difference(nearest.from_qk, weights))
    if worst > NEAR:
        return Verdict(
            "approximate", worst, "" if math.isfinite(worst) else f"{len(given)} of {len(own)} layers, or other shapes"
        )
    return Verdict("exact" if from_qk <= NEAR else "weights only", worst)


def run(tool: str, model: Any, inputs: dict[str, Any], own: Sequence[Tensor]) -> Verdict:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return judge(TOOLS[tool](model, inputs), own)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Verdict("refused", note=text if len(text) < 90 else text[:89] + "…")


def claims() -> list[str]:
    """Classes of transformers that TransformerLens has an adapter for; those of BertViz's neuron view are among them."""
    import transformers
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    named = [name for name in SUPPORTED_ARCHITECTURES if isinstance(getattr(transformers, name, None), type)]
    return sorted(set(named))


def popular() -> list[str]:
    """The claims whose type is among those that attnscope's tests check."""
    import transformers

    from attnscope.coverage.types import POPULAR

    types = {name: getattr(getattr(transformers, name), "config_class", None) for name in claims()}
    return [name for name, config in types.items() if config is not None and config.model_type in POPULAR]


def escaped(text: str) -> str:
    return re.sub(r"([|<>*_])", r"\\\1", text)


def table(names: Sequence[str]) -> list[str]:
    count: Counter[tuple[str, str]] = Counter()
    rows, unbuilt = [], []
    for name in names:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                model, inputs, own = build(name)
        except Exception as error:
            unbuilt.append(f"{name} ({' '.join(str(error).split())[:60]})")
            continue
        cells = []
        for tool in TOOLS:
            if tool == "BertViz" and type(model.base_model).__name__ not in NEURON_VIEW:
                cells += ["–", ""]
                continue
            if tool != "attnscope":  # an adapter changes the model that it is given
                with contextlib.redirect_stdout(io.StringIO()):
                    model, inputs, own = build(name)
            verdict = run(tool, model, inputs, own)
            count[tool, verdict.label] += 1
            error = f"{verdict.error:.0e}" if math.isfinite(verdict.error) else verdict.note
            cells += [verdict.label, escaped(error)]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    sums = [
        f"- {tool}: " + ", ".join(f"{count[tool, label]} {label}" for label in LABELS if count[tool, label])
        for tool in TOOLS
    ]
    head = "| class | " + " | ".join(f"{tool} | error" for tool in TOOLS) + " |"
    left = [
        "",
        f"Not compared, as no small model of theirs ran or gave weights of its own: {', '.join(map(escaped, unbuilt))}.",
    ]
    return [*sums, "", head, "|-" * (1 + 2 * len(TOOLS)) + "|", *rows, *(left if unbuilt else [])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The same architectures through three tools; see the top of this file."
    )
    parser.add_argument(
        "--popular", action="store_true", help="the types that attnscope's tests check; writes the section"
    )
    parser.add_argument("--quick", action="store_true", help="six architectures; print only")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = {name: importlib.metadata.version(name) for name in ("transformer-lens", "bertviz", "transformers")}
    which = " --popular" if given.popular else ""
    what = "of the types that attnscope's tests check, every class" if given.popular else "every class of transformers"
    lines = [
        (
            f"`python benchmarks/coverage.py{which}` prints this table: {what} that TransformerLens's adapters or BertViz's neuron view name, built small "
            "with random weights and run in eager mode. *Exact*: the weights, and the weights that the tool's own q and k give, are the model's within 1e-5 of its largest. "
            "*Weights only*: q and k (scaled by the root of their size, or not at all) do not give them. *Approximate*: the weights differ. The error is that of the weights. "
            f"TransformerLens {found['transformer-lens']}, BertViz {found['bertviz']}, transformers {found['transformers']}, torch {torch.__version__}, Python {platform.python_version()}."
        ),
        "",
        *table(QUICK if given.quick else popular() if given.popular else claims()),
    ]
    if not given.quick:
        write_section("coverage", ["## Architectures", "", *lines])
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
