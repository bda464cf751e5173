"""Reads one attention call: its mask and bias as rules, its sinks, its kind, and what is unknown in it."""

import functools
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.errors import CaptureError
from attnscope.tracing.biases import BiasRule, bias_rule_of
from attnscope.tracing.masks import NO_MASK, MaskRule, causal_rule, rule_of, split_additive

# Tensor arguments that models pass along and attention functions do not use for weights.
_HARMLESS = frozenset(
    "position_ids cache_position position_embeddings cu_seq_lens_q cu_seq_lens_k cu_seqlens max_length_q max_length_k "
    "input_ids token_type_ids labels num_items_in_batch output_attentions past_key_values decoder_input_ids "
    "encoder_hidden_states encoder_attention_mask inputs_embeds seq_idx".split()
)
_KNOWN = frozenset("dropout scaling softcap sliding_window s_aux sinks position_bias is_causal".split())
_CROSS = re.compile(r"cross|enc(oder)?_?dec|encoder_attn|_to_(image|token|text|latent)", re.IGNORECASE)


@dataclass(frozen=True)
class BatchRules:
    """Mask and bias of a call, one pair for each row of the batch, or one for all."""

    pairs: tuple[tuple[MaskRule, BiasRule | None], ...]

    def row(self, index: int) -> tuple[MaskRule, BiasRule | None]:
        return self.pairs[index % len(self.pairs)]


class MaskReader:
    """Turns masks into rules, once for all calls that share the tensor."""

    def __init__(self) -> None:
        self._read: dict[Any, tuple[Any, BatchRules]] = {}

    def read(self, call: AttentionCall) -> BatchRules:
        mask, bias = call.attention_mask, call.options.get("position_bias")
        if (sinks := sinks_by_query(call)) is not None:
            # exp(s) / (Σ exp(s) + exp(sink)) is the same with the sink at 0 and every score of its query less by it.
            bias = -sinks if bias is None else bias - sinks
        for tensor, what in ((mask, "attention_mask"), (bias, "position_bias")):
            if tensor is not None and not isinstance(tensor, Tensor):
                raise CaptureError(
                    f"the {call.implementation} implementation got a {type(tensor).__name__} as {what}, which attnscope cannot "
                    'read yet. Load the model with attn_implementation="sdpa" or "eager".'
                )
        queries, keys = call.query.shape[2], call.key.shape[2]
        causal = mask is None and _causal_by_argument(call)
        if call.own_mask or sinks is not None:
            return _rules(call, mask, bias, causal)
        key = (_identity(mask), _identity(bias), queries, keys, causal, call.implementation, _window(call))
        if key not in self._read:
            # The tensors stay referenced until the pass ends, so that no other one can take their address.
            self._read[key] = ((mask, bias), _rules(call, mask, bias, causal))
        return self._read[key][1]


def _identity(tensor: Tensor | None) -> Any:
    if tensor is None:
        return None
    version = -1 if tensor.is_inference() else tensor._version  # tensors of inference_mode count no versions
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, version


def _window(call: AttentionCall) -> int | None:
    """The sliding window, where the implementation takes it as an argument and not inside the mask."""
    return call.options.get("sliding_window") if "flash" in call.implementation else None


def _causal_by_argument(call: AttentionCall) -> bool:
    """Whether the implementation masks later keys itself when it gets no mask, as transformers' own code decides."""
    if call.direct:
        return bool(call.options.get("is_causal"))
    if call.implementation == "eager" or call.query.shape[2] == 1:
        return False
    wanted = call.options.get("is_causal")
    return bool(getattr(call.module, "is_causal", True) if wanted is None else wanted)


def _rules(call: AttentionCall, mask: Tensor | None, bias: Tensor | None, causal: bool) -> BatchRules:
    queries, keys = call.query.shape[2], call.key.shape[2]
    flash = "flash" in call.implementation
    if flash and (mask is None or mask.ndim == 2):
        offset = keys - queries if _is_causal_module(call) else None
        rules = [
            _flash_rule(queries, keys, offset, _window(call), row) for row in (mask if mask is not None else [None])
        ]
    elif mask is None:
        # sdpa aligns a causal mask to the upper left.
        rules = [causal_rule(queries, keys) if causal else NO_MASK]
    else:
        rules = None
    batch = (
        max(len(tensor) for tensor in (mask, bias) if tensor is not None) if mask is not None or bias is not None else 1
    )
    pairs = []
    for index in range(batch):
        row_bias = None if bias is None else bias[index if len(bias) > 1 else 0]
        if rules is not None:
            rule = rules[index if len(rules) > 1 else 0]
        else:
            assert mask is not None
            rule, mask_bias = _read_mask_row(mask[index if len(mask) > 1 else 0], queries, keys, bias is not None)
            if mask_bias is not None:
                row_bias = mask_bias if row_bias is None else row_bias + mask_bias
        # T5 gives its cross-attention a bias of zeros: that is none.
        expanded = row_bias.expand(-1, queries, keys) if row_bias is not None and bool(row_bias.any()) else None
        pairs.append((rule, None if expanded is None else bias_rule_of(expanded)))
        if mask is None and (bias is None or len(bias) == 1):
            break
    return BatchRules(tuple(pairs))


def _read_mask_row(mask: Tensor, queries: int, keys: int, with_bias: bool) -> tuple[MaskRule, Tensor | None]:
    """`mask`: one row of the batch, (Hm or nothing, Q or 1, K), boolean or additive."""
    mask = mask.detach()
    mask = mask.reshape(1, 1, -1) if mask.ndim == 1 else mask.reshape(-1, *mask.shape[-2:])
    mask = mask[..., :keys].expand(-1, queries, keys)
    if mask.dtype == torch.bool:
        # sdpa gives a row without keys zeros; with a position bias it gets finfo.min there instead, and spreads evenly.
        return rule_of(mask, uniform_empty_rows=with_bias), None
    allowed, bias, uniform = split_additive(mask)
    return rule_of(allowed, uniform), bias


def _is_causal_module(call: AttentionCall) -> bool:
    wanted = call.options.get("is_causal")
    return bool(getattr(call.module, "is_causal", True) if wanted is None else wanted)


def _flash_rule(queries: int, keys: int, offset: int | None, window: int | None, seen: Tensor | None) -> MaskRule:
    """Flash attention takes padding as one row of 0 and 1, and aligns its causal mask to the lower right."""
    padding = None if seen is None or bool(seen.bool().all()) else seen.bool().cpu()
    if offset is None:
        return MaskRule(keys=padding)
    band = causal_rule(queries, keys, offset, window)
    return MaskRule(band.lower, band.upper, padding)


def read_sinks(call: AttentionCall) -> Tensor | None:
    """[H] logits that join the softmax, by argument (s_aux) or as the module's own parameter."""
    given = (call.options.get(name) for name in ("s_aux", "sinks"))
    sinks = next((one for one in given if one is not None), None)
    if sinks is None and not call.direct:
        sinks = getattr(call.module, "sinks", None)
    if sinks_by_query(call) is not None:
        return torch.zeros(call.query.shape[1], device=call.query.device)
    return sinks.detach().reshape(-1) if isinstance(sinks, Tensor) else None


def scaling_of(call: AttentionCall) -> float:
    """What q · k is multiplied by: 1/√D where the call does not say."""
    scaling = call.options.get("scaling")
    return float(call.query.shape[-1] ** -0.5 if scaling is None else scaling)


def dropout_of(call: AttentionCall) -> bool:
    """Whether weights are dropped in this call."""
    # transformers' eager function drops in training only, the others whatever the call says
    drops = call.direct or call.module.training or call.implementation != "eager"
    return bool(call.options.get("dropout")) and drops


def sinks_by_query(call: AttentionCall) -> Tensor | None:
    """Logits that join the softmax, one for each query, [B, H, Q, 1]; None where there are none, or one for each head."""
    sinks = call.options.get("sinks")
    if not isinstance(sinks, Tensor) or sinks.shape != (*call.query.shape[:3], 1):
        return None
    return sinks.detach().float()


def is_cross(module: nn.Module, path: str) -> bool:
    """Whether keys come from another sequence than queries: by the module's own flag, else by its path."""
    flag = vars(module).get("is_cross_attention")  # torch looks for what is not there in three more places
    if flag is None and hasattr(type(module), "is_cross_attention"):
        flag = module.is_cross_attention
    return flag if isinstance(flag, bool) else _named_cross(path)


@functools.lru_cache(maxsize=4096)
def _named_cross(path: str) -> bool:
    return bool(_CROSS.search(path))


def unknown_tensors(call: AttentionCall) -> tuple[str, ...]:
    """Names of tensor arguments whose meaning is not known here."""
    return tuple(
        name
        for name, value in call.options.items()
        if isinstance(value, Tensor) and name not in _KNOWN and name not in _HARMLESS
    )
