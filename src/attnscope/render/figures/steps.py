"""The steps level: the arithmetic of one query and one key, line by line, with its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnscope.render.figures.colours import FAINT, MUTED, TEXT, nice
from attnscope.render.figures.names import cut
from attnscope.render.figures.parts import largest
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import POINT, Sheet
from attnscope.text.format import percent, significant
from attnscope.tracing.step_names import STEP_NAMES

STEP, TALL = 0.2, 0.3


@dataclass(frozen=True)
class Line:
    """One step: its name, its formula, and either a vector, drawn as bars, or a number."""

    symbol: str
    formula: str
    vector: Tensor | None = None
    value: str = ""

    @property
    def height(self) -> float:
        return STEP if self.vector is None else TALL


def plan(scene: Scene, width: float) -> Plan:
    """Begins at x if the trace kept it. Raises NotCaptured for a trace of weights only."""
    lines = steps_of(scene, width)
    query, key = scene.query_names[scene.state.query], scene.key_names[scene.key]
    notes = ["Bars on a line: up is positive, down is negative; the number after ± is the end of the scale."]
    if scene.site.x is None:
        notes.append("This trace did not keep x, so the steps begin at q and k.")
    return Plan(
        f"{scene.site.name}, head {scene.state.head}, step by step: “{cut(query, 24)}” looks at “{cut(key, 24)}”",
        sum(line.height for line in lines) + 0.05,
        lambda sheet, y: _draw(sheet, y, steps_of(scene, sheet.width)),
        tuple(notes),
    )


def steps_of(scene: Scene, width: float) -> list[Line]:
    """The lines, from x (or q and k) to what the head writes."""
    site, head, row, key = scene.site, scene.state.head, scene.row, scene.key
    chain = site.chain(head, row)
    steps = {step.name: step for step in site.steps(head, row)}
    most = 16 if width < 5 else 24
    names = cut(scene.query_names[scene.state.query], most), cut(scene.key_names[key], most)
    lines: list[Line] = []
    if "x" in steps:
        whose = "input" if width < 5 else "the layer's input"
        lines.append(Line(_title("x"), f"{whose}, for “{names[0]}”", steps["x"].value))
    lines += _before(steps, "query", names[0], None)
    lines += _before(steps, "keys", names[1], key)
    group = site.heads // site.kv_heads
    if group > 1:
        lines.append(Line("", f"query head {head} reads key/value head {head // group} of {site.kv_heads}"))
    product = chain.query[0] * chain.key[key]
    lines.append(Line(_title("products"), "number by number", product))
    dot = float(chain.dot[0, key])
    lines.append(Line(_title("dot"), "= " + _sum(product.tolist(), width), value=significant(dot)))
    if scene.state.dim is not None:
        until = float(product[: scene.state.dim + 1].sum())
        lines.append(Line("", f"up to dimension {scene.state.dim}", value=significant(until)))
    lines += _score(scene, chain, key)
    lines += _weight(scene, chain, key)
    lines.append(Line(_title("values"), f"what “{names[1]}” passes on", chain.value[key]))
    share = f" (share of the output {percent(float(site.share(head, row)[key]))})" if width >= 4.5 else ""
    lines.append(Line(_title("output"), f"= Σ weight · v{share}", chain.output[0]))
    if "write" in steps:
        what = "added to the stream" if width < 6 else "what the head adds to the residual stream"
        lines.append(Line(STEP_NAMES["write"].symbol, what, steps["write"].value))
    return lines


def _title(step: str) -> str:
    """What the page calls this step, too."""
    return STEP_NAMES[step].title


def _before(steps: dict, name: str, who: str, key: int | None) -> list[Line]:
    """The lines up to q or k: the projection, a norm, rotary embedding, each if the trace kept it."""
    lines = []
    chosen = (lambda value: value) if key is None else (lambda value: value[key])
    projected, norm = steps.get("projected_query" if key is None else "projected_keys"), steps.get(f"pre_norm_{name}")
    rotary, last, letter = steps.get(f"pre_rotary_{name}"), steps[name], _title(name)
    of = "" if key is None else f" of “{who}”"
    if projected is not None and (norm is not None or rotary is not None):
        lines.append(Line(projected.symbol, f"= {projected.formula}{of}", chosen(projected.value)))
    elif projected is not None:
        return [Line(letter, f"= {projected.formula}{of}", chosen(last.value))]
    if norm is not None and rotary is not None:
        lines.append(Line(_title("query_norm"), f"{letter} through its norm", chosen(rotary.value)))
    if rotary is not None:
        turned = f"turned by {_title('query_rotary')}"
        return [*lines, Line(letter, turned, chosen(last.value))]
    whose = "" if not who else f"for “{who}”, " if key is None else f"of “{who}”, "
    how = "through its norm" if norm is not None else f"{whose}as it is compared"
    return [*lines, Line(letter, how, chosen(last.value))]


def _score(scene: Scene, chain, key: int) -> list[Line]:
    site = scene.site
    dot, scaled, capped, biased = (float(t[0, key]) for t in (chain.dot, chain.scaled, chain.capped, chain.biased))
    why = f" (1/√{site.head_size})" if abs(site.scaling - site.head_size**-0.5) < 1e-6 else ""
    by = f"= {significant(dot)} × {site.scaling:.4g}{why}"
    lines = [Line(_title("scaled"), by, value=significant(scaled))]
    if site.softcap is not None:
        cap = f"= {site.softcap:g} · tanh({significant(scaled)} / {site.softcap:g})"
        lines.append(Line(_title("capped"), cap, value=significant(capped)))
    if site.position_bias is not None:
        bias = biased - capped
        added = f"= {significant(capped)} {'−' if bias < 0 else '+'} {significant(abs(bias))}"
        lines.append(Line(_title("biased"), added, value=significant(biased)))
    if not site.mask.is_empty:
        allowed = site.mask.allowed(torch.tensor([scene.row]), site.keys, scene.state.head).reshape(-1)
        here = "may be seen" if bool(allowed[key]) else "is masked: −∞"
        masked = f"this key {here}; {int((~allowed).sum())} of {site.keys} keys are masked"
        lines.append(Line(_title("masked"), masked))
    return lines


def _weight(scene: Scene, chain, key: int) -> list[Line]:
    score, weight, sinks = chain.masked[0].double(), float(chain.weights[0, key]), scene.site.sinks
    parts = score if sinks is None else torch.cat([score, sinks[scene.state.head].double().reshape(1)])
    top, title = float(parts.max()), _title("weights")
    if not torch.isfinite(parts.max()) or bool(torch.isnan(parts).any()):
        why = "no key is allowed" if top == -float("inf") else "the scores are not numbers"
        return [Line(title, why, value=percent(weight))]
    over, under = float((score[key] - top).exp()), float((parts - top).exp().sum())
    sink = ", the sink among them" if sinks is not None else ""
    here, most = "−∞" if torch.isinf(score[key]) else _exponent(float(score[key])), _exponent(top)
    value = "masked" if here == "−∞" and not weight else percent(weight)
    return [
        Line(title, f"= exp({here} − {most}) / Σ exp(score − {most})".replace("− −", "+ ")),
        Line("", f"= {over:.4g} / {under:.4g}{sink}", value=value),
    ]


def _exponent(value: float) -> str:
    """Five decimals: as many as four digits of its exp need, however large it is."""
    return f"{value:.5f}".replace("-", "−")


def _sum(terms: Sequence[float], width: float) -> str:
    """ "0.531 + 1.20 − 0.0451 + … (32 terms)" """
    most = 3 if width < 5 else 7
    words = significant(terms[0], 3)
    for term in terms[1:most]:
        words += f" {'−' if term < 0 else '+'} {significant(abs(term), 3)}"
    return words + (f" + … ({len(terms)} terms)" if len(terms) > most else "")


def _draw(sheet: Sheet, y: float, lines: list[Line]) -> None:
    small = sheet.width < 5
    size = 6 if small else 7.5
    symbol, right = 0.06, sheet.width - 0.06
    formula = symbol + max(len(line.symbol) for line in lines) * 0.6 * size * POINT + (0.05 if small else 0.1)
    longest = max(len(line.formula.replace("_", "")) for line in lines if line.vector is not None)
    strip = min(formula + longest * 0.57 * size * POINT + 0.12, right - (1.3 if small else 1.6))
    for n, line in enumerate(lines):
        middle = y + line.height / 2
        if n:
            sheet.lines([[(symbol, y), (right, y)]], FAINT, 0.4)
        sheet.formula(symbol, middle, line.symbol, size, weight="bold")
        sheet.formula(formula, middle, line.formula, size, color=TEXT if line.formula.startswith("=") else MUTED)
        if line.vector is None:
            sheet.say(right, middle, line.value, size, ha="right", weight="bold")
        else:
            bound = nice(largest(line.vector))
            side = 0.62 if small else 0.75
            sheet.strips(
                strip, y + 0.02, right - strip - side, line.height - 0.04, line.vector[None].numpy(), line.symbol, bound
            )
            sheet.say(right, middle, f"[{len(line.vector)}]  ±{bound:g}", size - 1, ha="right", color=MUTED)
        y += line.height
