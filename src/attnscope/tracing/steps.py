"""The chain for one query written out, every step named, shaped and valued.

The steps from q, k, v on are there for every site with vectors; those before it where they were kept
(`trace(…, keep={"x", "pre_rotary", "projections"})`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from attnscope.text.characters import printable
from attnscope.tracing.step_names import STEP_NAMES


@dataclass(frozen=True)
class Step:
    """One named step of the chain for one query.

    `name`: for code, such as "scaled". `symbol`: for people, such as "q · k · scaling". `formula`: what gives it.
    `value`: the numbers, fp32.
    """

    name: str
    symbol: str
    formula: str
    value: Float[Tensor, "*shape"]

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's sizes."""
        return tuple(self.value.shape)

    def __repr__(self) -> str:
        first = ", ".join(f"{x:.4g}" for x in self.value.flatten()[:4].tolist())
        more = ", …" if self.value.numel() > 4 else ""
        return printable(f"Step({self.name}: {self.symbol} = {self.formula}; {list(self.shape)}: {first}{more})")


def steps_of(site: Any, head: int, query: int) -> tuple[Step, ...]:
    """Every step of `site` (a Site with q, k and v) for one head and one query, in order; all fp32."""
    return (
        *_to_query(site, head, query),
        *_to_keys(site, head),
        *_to_values(site, head),
        *_from_qkv(site, head, query),
    )


def _to_query(site: Any, head: int, query: int) -> Iterator[Step]:
    q = site.q[head, query].float()
    if site.x is not None and (site.kind == "self" or site.w_q is not None):
        yield _step("x", "the layer's input for this token", site.x[query].float())
    formula = "x · W_Q"
    if site.w_q is not None and site.x is not None:
        w = site.w_q
        yield Step("query_weights", "W_Q", f"the model's own parameter: {w.named(head)}", w.weight(head).float())
        yield Step("projected_query", "x · W_Q", _affine("x", w, "Q"), w.apply(site.x[query][None], head)[0])
        formula = _then("x · W_Q", w)
    if site.pre_norm_q is not None:
        yield Step("pre_norm_query", "q before its norm", "x · W_Q", site.pre_norm_q[head, query].float())
    if site.pre_rotary_q is not None:
        yield Step("pre_rotary_query", "q before rotary", formula, site.pre_rotary_q[head, query].float())
        formula = "q before rotary, its pairs of dimensions turned by the query's position"
    yield _step("query", formula, q)


def _to_keys(site: Any, head: int) -> Iterator[Step]:
    group, x, source = _group(site, head), *_source_of_keys(site)
    if source == "x_keys":
        yield Step("x_keys", "x of the keys", "what the keys and values are made of", x.float())
    formula = f"{'x' if site.kind == 'self' else 'x of the keys'} · W_K for every token"
    if site.w_k is not None and x is not None:
        w = site.w_k
        yield Step("key_weights", "W_K", f"the model's own parameter: {w.named(group)}", w.weight(group).float())
        yield Step("projected_keys", "x · W_K", _affine("x", w, "K"), w.apply(x, group))
        formula = _then("x · W_K", w)
    if site.pre_norm_k is not None:
        yield Step("pre_norm_keys", "k before its norm", "x · W_K", site.pre_norm_k[group].float())
    if site.pre_rotary_k is not None and site.pre_rotary_k.shape[1] == site.keys:
        yield Step("pre_rotary_keys", "k before rotary", formula, site.pre_rotary_k[group].float())
        formula = "k before rotary, its pairs of dimensions turned by each key's position"
    yield _step("keys", formula, site.k[group].float())


def _to_values(site: Any, head: int) -> Iterator[Step]:
    group, x = _group(site, head), _source_of_keys(site)[0]
    if site.w_v is not None and x is not None:
        named = site.w_v.named(group)
        yield Step("value_weights", "W_V", f"the model's own parameter: {named}", site.w_v.weight(group).float())
    yield _step("values", "x · W_V for every token", site.v[group].float())


def _from_qkv(site: Any, head: int, query: int) -> Iterator[Step]:
    chain = site.chain(head, query)
    yield _step("products", "q[d] · k[d], dimension by dimension", chain.query * chain.key)
    yield _step("dot", "Σ over d of q[d] · k[d]", chain.dot[0])
    yield _step("scaled", f"q · k × {site.scaling:.6g}", chain.scaled[0])
    if site.softcap is not None:
        yield _step("capped", f"{site.softcap:g} · tanh(scaled / {site.softcap:g})", chain.capped[0])
    if site.position_bias is not None:
        yield _step("biased", "score + position bias", chain.biased[0])
    yield _step("masked", f"−∞ where the mask hides a key ({site.mask.describe()})", chain.masked[0])
    sink = " (the sink's column is dropped)" if site.sinks is not None else ""
    yield _step("weights", f"exp(score) / Σ over keys of exp(score){sink}", chain.weights[0])
    yield _step("output", "Σ over keys of weight · v", chain.output[0])
    if site.projection is not None:
        write = site.write(head, query)[0]
        yield _step("write", "what this head adds to the residual stream", write)


def _step(name: str, formula: str, value: Float[Tensor, "*shape"]) -> Step:
    """A step with the symbol that its name has everywhere."""
    return Step(name, STEP_NAMES[name].symbol, formula, value)


def _group(site: Any, head: int) -> int:
    """The key/value head that this query head reads."""
    return head // (site.heads // site.kv_heads)


def _source_of_keys(site: Any) -> tuple[Any, str]:
    """What k and v are made of, and under which name it is kept."""
    if site.x_keys is not None:
        return site.x_keys, "x_keys"
    fits = site.kind == "self" and site.x is not None and len(site.x) == site.keys
    return (site.x, "x") if fits else (None, "")


def _affine(x: str, projection: Any, letter: str) -> str:
    return f"{x} · W_{letter}" + ("" if projection.bias is None else f" + b_{letter}")


def _then(formula: str, projection: Any) -> str:
    if projection.norm:
        formula += f", through {projection.norm}"
    return formula if projection.factor == 1.0 else f"{formula}, × {projection.factor:.6g} by the model itself"
