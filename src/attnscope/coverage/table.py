"""Rows as a page of the documentation, and that page as labels again."""

import re
from collections import Counter
from collections.abc import Sequence

from attnscope.coverage.examine import LABELS, Row

_LINE = r"^\| ([\w.-]+) \| \w* \| ([a-z ]+) \|.*$"
_HEAD = """# Which architectures are captured

Every architecture of transformers {version} is built on a small configuration, run with random weights, and captured. `make coverage` writes this page anew;
`attnscope coverage --model-type llama` prints one row, and with `--out` puts it in the place of the old one.

- *exact*: the weights are computed from the captured q, k and extras, and with v they give the model's own output.
- *weights only*: the model computes its softmax by itself. Its weights are seen, and q and k are not.
- *mixed*: some calls are exact, the others are weights only or not seen. "1 of 2 softmaxes" names a module that makes more of them than were
  captured.
- *nothing*: the model attends in a way that attnscope cannot read.
- *not attention*: it mixes tokens by other means than a softmax over keys: convolutions, a recurrence, a Fourier transform, linear
  attention, points that it samples. Layers of this kind beside attention are named in the remark, and do not change the label.
- *not built*: no small model of this kind ran here. That says nothing about attnscope.

*Pages* counts the pages that `attnscope.show` drew: one at each level, and one of each stack of a model with several.
The error is the largest difference from the model's own output, as a part of its largest number.
`benchmarks/coverage.py` puts small models of the same types through TransformerLens 4 and BertViz's neuron view: its table is in `benchmarks/RESULTS.md`.

{counts}

| type | class | label | calls | extras | error | pages | seen without q and k | remark |
|-|-|-|-|-|-|-|-|-|
"""


def page(rows: Sequence[Row], version: str, before: str = "") -> str:
    """The page, Markdown. `version`: of transformers. `before`: a page whose other rows stay."""
    lines = {match[1]: match[0] for match in re.finditer(_LINE, before, re.M) if match[2] in LABELS}
    lines |= {row.model_type: line(row) for row in rows}
    count = Counter(labels_of("\n".join(lines.values())).values())
    attends = sum(count[label] for label in LABELS[:5])
    seen = attends - count["nothing"] - count["differs"]
    counts = ", ".join(f"{count[label]} {label}" for label in LABELS if count[label])
    share = f"Of the {attends} that attend and could be built, {count['exact'] / max(attends, 1):.1%} are exact and {seen / max(attends, 1):.1%} at least weights only."
    head = _HEAD.format(version=version, counts=f"{len(lines)} architectures: {counts}. {share}")
    return head + "\n".join(lines[name] for name in sorted(lines)) + "\n"


def line(row: Row) -> str:
    """One row of the table."""
    built = row.label not in ("not attention", "not built", "nothing")
    cells = (
        row.model_type,
        row.class_name,
        row.label,
        str(row.sites) if built else "",
        ", ".join(row.extras),
        f"{row.error:.0e}" if built and row.label != "weights only" else "",
        str(row.opens) if built else "",
        ", ".join(row.bypassed),
        row.note,
    )
    return (
        "| "
        + " | ".join(re.sub(r"([|<>*_])", r"\\\1", cell) if at > 5 else cell for at, cell in enumerate(cells))
        + " |"
    )


def labels_of(text: str) -> dict[str, str]:
    """The label of every type on such a page."""
    return {match[1]: match[2] for match in re.finditer(_LINE, text, re.M) if match[2] in LABELS}


def worse(label: str, before: str) -> bool:
    """Whether a label is worse than it was."""
    return LABELS.index(label) > LABELS.index(before)
