"""Attention weights from anywhere: transformers' outputs.attentions, one stacked tensor, or three stacks by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError
from attnscope.tracing.from_tensors.as_tensor import as_tensor
from attnscope.tracing.from_tensors.weight_checks import odd_weights
from attnscope.tracing.tokens import Tokens, tokens_of_strings
from attnscope.tracing.weights_site import WeightsSite

STACKS = ("encoder", "decoder", "cross")
_FORMS = "(Q, K), (H, Q, K) or (1, H, Q, K) for a layer, as torch or numpy"
_NONE = (
    "attentions holds no layer: it is empty, or None throughout. A model gives its weights with output_attentions=True when "
    'it was loaded with attn_implementation="eager"; attnscope.trace(model, tokenizer, text) needs neither.'
)


@dataclass(frozen=True)
class Read:
    """What `Trace.from_attentions` is made of. `target` names the decoder's side, as in a Trace."""

    sites: tuple[WeightsSite, ...]
    tokens: Tokens
    target: Tokens | None
    notes: tuple[str, ...]


def read_attentions(attentions: Any, tokens: Any, key_tokens: Any) -> Read:
    """See `Trace.from_attentions`."""
    if isinstance(attentions, Mapping):
        return _read_stacks(attentions, tokens, key_tokens)
    queries = _names("tokens", tokens)
    if key_tokens is None:
        return _read({None: attentions}, queries, None)
    return _read({"cross": attentions}, _names("key_tokens", key_tokens), queries)


def _read_stacks(attentions: Mapping[Any, Any], tokens: Any, key_tokens: Any) -> Read:
    unknown = [name for name in attentions if name not in STACKS]
    if unknown:
        hint = " Of a model's output pass its attentions, such as outputs.attentions, not the whole."
        raise InputError(
            f"attentions has an entry {unknown[0]!r}: the stacks are 'encoder', 'decoder' and 'cross'."
            f"{hint if any('attentions' in str(name) for name in attentions) else ''}"
        )
    given: dict[str | None, Any] = {stack: attentions[stack] for stack in STACKS if attentions.get(stack) is not None}
    sides = [side for side in STACKS[:2] if {side, "cross"} & given.keys()]
    if not given:
        raise InputError(_NONE)
    if key_tokens is not None or not isinstance(tokens, Mapping) or any(tokens.get(side) is None for side in sides):
        raise InputError(
            f"attentions has the stacks {', '.join(map(repr, given))}, so tokens must name each side: "
            f"tokens={{{', '.join(f'{side!r}: [...]' for side in sides)}}}, without key_tokens."
        )
    named = {side: _names(f"tokens[{side!r}]", tokens[side]) for side in sides}
    # The decoder alone: its tokens are all there are.
    return _read(given, named.get("encoder") or named.get("decoder") or Tokens(()), named.get("decoder"))


def _read(stacks: Mapping[str | None, Any], tokens: Tokens, target: Tokens | None) -> Read:
    sites = []
    for stack, attentions in stacks.items():
        name = f"attentions[{stack!r}]" if len(stacks) > 1 else "attentions"
        queries = target if stack in ("decoder", "cross") and target is not None else tokens
        keys = queries if stack == "decoder" else tokens
        for layer, given in _layers(name, attentions):
            path = f"from_attentions{'.' + stack if stack else ''}[{layer}]"
            site = WeightsSite(
                given=given,
                path=path,
                kind="cross" if stack == "cross" else "self",
                stack=stack,
                layer=layer,
                note="there are no q, k and v to compute them again from",
            )
            _check_lengths(site, len(queries), len(keys))
            sites.append(site)
    if not sites:
        raise InputError(_NONE)
    return Read(tuple(sites), tokens, target, odd_weights(sites))


def _layers(name: str, attentions: Any) -> list[tuple[int, Float[Tensor, "H Q K"]]]:
    """Each layer that is there, with its number."""
    if attentions is None:
        return []
    if _has(attentions, Tensor, np.ndarray, type(None)):
        layers: Sequence[Any] = attentions
    elif isinstance(attentions, (list, tuple)) and any(_has(step, Tensor, np.ndarray) for step in attentions):
        raise InputError(
            f"{name} is a list of lists of tensors, as generate returns them, one list for each step: pass one step, "
            "attentions[step]."
        )
    else:
        whole = as_tensor(name, attentions)
        layers = list(whole) if whole.ndim in (4, 5) else [whole] if whole.numel() else []
    return [(number, _weights(f"{name}[{number}]", layer)) for number, layer in enumerate(layers) if layer is not None]


def _has(value: Any, *kinds: type) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(item, kinds) for item in value)


def _weights(name: str, layer: Any) -> Float[Tensor, "H Q K"]:
    given = as_tensor(name, layer).detach()
    if given.ndim == 4 and given.shape[0] > 1:
        raise InputError(
            f"{name} is a batch of {given.shape[0]} texts (shape {list(given.shape)}), and a trace is of one: pass one row, "
            "[layer[i : i + 1] for layer in attentions]."
        )
    heads = given[0] if given.ndim == 4 else given[None] if given.ndim == 2 else given
    if heads.ndim != 3 or 0 in heads.shape:
        raise InputError(f"{name} has shape {list(given.shape)}; expected {_FORMS}, without empty axes.")
    if heads.is_complex():
        raise InputError(f"{name} holds {given.dtype} numbers; attention weights are real.")
    kept = (torch.float32, torch.float16, torch.bfloat16)
    heads = heads if heads.dtype in kept else heads.to(torch.float32)
    if bool((heads < 0).any()) or bool(torch.isinf(heads).any()):
        low, high = (float(end) for end in heads.float().nan_to_num(0.0, torch.inf, -torch.inf).aminmax())
        raise InputError(
            f"{name} goes from {low:.3g} to {high:.3g}, and attention weights lie between 0 and 1. If these are scores, pass "
            "what leaves the softmax: scores.softmax(dim=-1)."
        )
    return heads


def _check_lengths(site: WeightsSite, queries: int, keys: int) -> None:
    """Names and axes must agree; a self-attention site may hold the last queries only (a step with a cache)."""
    fits = site.queries == queries or (site.kind == "self" and site.queries < queries)
    if fits and site.keys == keys:
        return
    shape = f"{site.name} has {site.queries} queries × {site.keys} keys"
    if site.kind == "cross":
        raise InputError(
            f"{shape}, and {queries} tokens were given for the queries and {keys} for the keys; give one name for each."
        )
    hint = ""
    if site.stack is None and site.queries != site.keys:
        hint = " Where queries and keys are different texts, name both: from_attentions(attentions, query_tokens, key_tokens=…)."
    raise InputError(f"{shape}, and {keys} tokens were given; give one name for each key.{hint}")


def _names(what: str, tokens: Any) -> Tokens:
    if isinstance(tokens, Tokens):
        return tokens
    if isinstance(tokens, str) or not isinstance(tokens, (Sequence, np.ndarray)):
        raise InputError(
            f"expected {what} as a list of strings, one for each token, got {type(tokens).__name__}. A tokenizer gives them: "
            "tokenizer.convert_ids_to_tokens(ids)."
        )
    for position, token in enumerate(tokens):
        if not isinstance(token, str):
            pair = (
                " For cross attention pass the keys' names as key_tokens=…." if isinstance(token, (list, tuple)) else ""
            )
            raise InputError(
                f"{what}[{position}] is {token!r:.60}, and a name must be a string: tokenizer.convert_ids_to_tokens(ids) "
                f"gives them.{pair}"
            )
    return tokens_of_strings([str(token) for token in tokens])
