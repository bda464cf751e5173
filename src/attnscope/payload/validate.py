"""A description against itself and against its tensors, before any number is read: docs/payload.md as checks.

Each function raises ValueError, which says what does not fit. After them, nothing that a trace does later meets a value
of another type, an index out of range, or a size that the tensors do not have.
"""

from collections.abc import Mapping
from typing import Any

from attnscope.payload.badges import check_badges
from attnscope.payload.fields import entry, flag, one_of, plain_values, real, several, text, whole
from attnscope.payload.header import Layout
from attnscope.payload.stream import check_positions, check_stream
from attnscope.payload.validate_tokens import check_tokens
from attnscope.tracing.trace import Trace
from attnscope.tracing.weights_site import WeightsSite

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
FLOATS = tuple(DTYPES)
STORED = (*FLOATS, "F8_E4M3", "F8_E5M2")  # of the model's own parameters
LAYERS = 100_000
MODEL = ("name", "class", "type", "dtype", "implementation")


def check(meta: Mapping[str, Any], layouts: Mapping[str, Layout]) -> None:
    """Every field of a description. Raises ValueError for the first that does not fit."""
    tables = several(entry(meta, "tokens", "it"), "tokens")
    if not tables:
        raise ValueError("it describes no tokens")
    for number, table in enumerate(tables):
        check_tokens(table, f"token table {number}")
    model = entry(meta, "model", "it")
    for name in MODEL:
        text(entry(model, name, "model"), f"model {name}")
    if (revision := entry(model, "revision", "model")) is not None:
        text(revision, "model revision")
    for name in ("notes", "unrecorded"):
        for note in several(meta.get(name, []) if name == "unrecorded" else entry(meta, name, "it"), name):
            text(note, name)
    if (source := meta.get("source")) is not None and not isinstance(plain_values(source, "source"), dict):
        raise ValueError("source is not a table of entries")
    if (stream := meta.get("stream")) is not None:
        check_stream(stream, layouts)
    for index, site in enumerate(several(entry(meta, "sites", "it"), "sites")):
        what = f"site {index}"
        _check_place(site, index, what, len(tables))
        sizes = _check_sizes(site, what)
        check_badges(site, what)
        if site.get("held") is not None:
            _check_tensors(site, Tensors(layouts, index, what), sizes)


def check_trace(trace: Trace) -> None:
    """What only the numbers tell: which queries z is of, and whether the tokens are those along the axes.

    Raises ValueError.
    """
    check_positions(trace)
    for site in trace.sites:
        if site.z_rows is not None:
            rows = site.z_rows
            if int(rows.min()) < 0 or int(rows.max()) >= site.queries or not bool((rows.diff() > 0).all()):
                raise ValueError(f"{site.name}: z_rows are not rows of its {site.queries} queries, in order")
        if isinstance(site, WeightsSite) and bool((site.given < 0).any() | site.given.isinf().any()):
            raise ValueError(f"{site.name}: its weights are negative or infinite")
        if site.written_rows is not None:
            rows = site.written_rows
            if int(rows.min()) < 0 or int(rows.max()) >= site.queries:
                raise ValueError(f"{site.name}: written_rows are not rows of its {site.queries} queries")
        if site.stored is not None and bool((site.stored.norms < 0).any()):
            raise ValueError(f"{site.name}: its norms are negative")
        queries, keys = len(trace.query_tokens(site)), len(trace.key_tokens(site))
        if site.query_offset + site.queries > queries or site.keys != keys:
            raise ValueError(
                f"{site.name} has {site.queries} queries and {site.keys} keys, and there are {queries} and {keys} tokens"
            )


def _check_place(site: Any, index: int, what: str, tables: int) -> None:
    if whole(entry(site, "index", what), f"{what}, index") != index:
        raise ValueError(f"{what} has the index {site['index']}")
    for name in ("path", "note"):
        text(entry(site, name, what), f"{what}, {name}")
    whole(entry(site, "call", what), f"{what}, call", 0)
    whole(entry(site, "layer", what), f"{what}, layer", 0, LAYERS)
    whole(site.get("query_offset", 0), f"{what}, query_offset", 0)
    for axis in ("query_tokens", "key_tokens"):
        whole(site.get(axis, 0), f"{what}, {axis}", 0, max(1, tables - 1))
    one_of(entry(site, "kind", what), ("self", "cross"), f"{what}, kind")
    if (stack := entry(site, "stack", what)) is not None:
        text(stack, f"{what}, stack")
    text(site.get("no_projection", ""), f"{what}, no_projection")
    for name in ("write_error", "write_tolerance"):  # files of the first days have none
        receipt = site.get("receipt")
        if isinstance(receipt, dict) and (error := receipt.get(name)) is not None:
            real(error, f"{what}, receipt {name}")
    flag(entry(site, "weights_only", what), f"{what}, weights_only")
    flag(site.get("scaled_by_model", False), f"{what}, scaled_by_model")
    real(entry(site, "scaling", what), f"{what}, scaling")
    if (cap := entry(site, "softcap", what)) is not None and not 0 < real(cap, f"{what}, softcap") < float("inf"):
        raise ValueError(f"{what}, softcap is {cap}, and should be above 0")
    one_of(entry(site, "norms", what), ("output", "value"), f"{what}, norms")
    mask = entry(site, "mask", what)
    for name in ("lower", "upper"):
        if (bound := entry(mask, name, f"{what}, mask")) is not None:
            whole(bound, f"{what}, mask {name}")
    one_of(entry(mask, "empty_rows", f"{what}, mask"), ("zero", "uniform"), f"{what}, mask empty_rows")


def _check_sizes(site: Mapping[str, Any], what: str) -> dict[str, int]:
    """What the description says of its axes: H, Hkv, Q, K, D and Dv, as far as it says it."""
    named = {"H": "heads", "Hkv": "kv_heads", "Q": "queries", "K": "keys", "D": "head_size", "Dv": "value_size"}
    vectors = 0 if site["weights_only"] else 1
    sizes = {
        axis: whole(site[name], f"{what}, {name}", vectors if axis in ("D", "Dv") else 1)
        for axis, name in named.items()
        if name in site
    }
    heads = whole(entry(site, "heads", what), f"{what}, heads", 1)
    if heads % sizes.get("Hkv", heads):
        raise ValueError(f"{what} has {heads} heads, which is no multiple of its {sizes['Hkv']} key/value heads")
    return sizes


class Tensors:
    """Layouts of the tensors of one site, asked for by name and compared with what they should be."""

    def __init__(self, layouts: Mapping[str, Layout], index: int, what: str) -> None:
        self._layouts, self._index, self._what = layouts, index, what

    def own(self, name: str) -> str:
        """The full name of a tensor that belongs to this site alone."""
        return f"s{self._index}.{name}"

    def has(self, name: str) -> bool:
        return name in self._layouts

    def fits(self, name: Any, dtypes: tuple[str, ...], *axes: int | tuple[int, ...] | None) -> tuple[int, ...]:
        """The shape of a tensor of one of these dtypes. An axis is its size, or several that it may have; None: any.

        No axis is 0: a tensor without numbers costs no bytes, whatever its other axes say.
        """
        if not isinstance(name, str) or name not in self._layouts:
            raise ValueError(f"{self._what} needs a tensor {ascii(name)[:40]}, which is not here")
        layout = self._layouts[name]
        allowed = [(axis,) if isinstance(axis, int) else axis for axis in axes]
        fit = len(layout.shape) == len(axes) and all(
            size > 0 and (wanted is None or size in wanted) for size, wanted in zip(layout.shape, allowed, strict=True)
        )
        if not fit or layout.dtype not in dtypes:
            wanted = ", ".join("any" if one is None else " or ".join(map(str, one)) for one in allowed)
            raise ValueError(
                f"{self._what}: tensor {name} is {layout.dtype} {list(layout.shape)}, and should be "
                f"{' or '.join(dtypes)} [{wanted}]"
            )
        return layout.shape


def _check_tensors(site: Mapping[str, Any], tensors: Tensors, sizes: dict[str, int]) -> None:
    """The tensors of a held site: their shapes follow from each other and from the description."""
    what = tensors._what
    held = site["held"]
    heads = several(entry(held, "heads", f"{what}, held"), f"{what}, held heads")
    every, groups = sizes["H"], sizes.get("Hkv", sizes["H"])
    if [whole(h, f"{what}, held heads", 0, every - 1) for h in heads] != sorted(set(heads)) or not heads:
        raise ValueError(f"{what}, held heads are not in order")
    one_of(entry(site, "model_dtype", what), tuple(DTYPES.values()), f"{what}, model_dtype")
    dtypes = (one_of(held["dtype"], FLOATS, f"{what}, held dtype"),) if "dtype" in held else FLOATS
    count, shared = len(heads), len({head // (every // groups) for head in heads})
    q, k, d, dv = (sizes.get(axis) for axis in ("Q", "K", "D", "Dv"))
    if site["weights_only"]:
        tensors.fits(tensors.own("weights"), dtypes, count, q, k)
        return
    _, q, d = tensors.fits(tensors.own("q"), dtypes, count, q, d)
    _, k, _ = tensors.fits(tensors.own("k"), dtypes, shared, k, d)
    _, _, dv = tensors.fits(tensors.own("v"), dtypes, shared, k, dv)
    z, rows, norms = map(tensors.own, ("z", "z_rows", "norms"))
    if tensors.has(z) or tensors.has(rows):
        tensors.fits(z, ("F32",), count, *tensors.fits(rows, ("I32",), None), dv)
    if tensors.has(norms):
        tensors.fits(norms, ("F32",), count, k)
    if tensors.has(products := tensors.own("w_o_products")):
        tensors.fits(products, FLOATS, count, dv * (dv + 1) // 2)
    mask, bias, sinks = site["mask"], entry(site, "bias", what), entry(site, "sinks", what)
    for name, axes in (("keys", (k,)), ("rows", (q,)), ("packed", ((1, every), q, -(-k // 8)))):
        if entry(mask, name, f"{what}, mask") is not None:
            tensors.fits(mask[name], ("U8",), *axes)
    if bias is not None:
        form = one_of(entry(bias, "form", f"{what}, bias"), ("diagonals", "full", "blocks"), f"{what}, bias form")
        axes = {"diagonals": (q + k - 1,), "full": (q, k), "blocks": (None, None, None)}[form]
        table = tensors.fits(entry(bias, "tensor", f"{what}, bias"), ("F32",), (1, every), *axes)
        if form == "blocks" and (table[1] * table[2], table[1] * table[3]) != (q, k):
            raise ValueError(f"{what}, bias has parts of {list(table[1:])}, which are not {q} queries and {k} keys")
    if sinks is not None:
        tensors.fits(sinks, ("F32",), every)
    if (projection := site.get("projection")) is not None:
        where = f"{what}, projection"
        wide = every * dv
        turned = flag(entry(projection, "transposed", where), f"{where} transposed")
        shape = tensors.fits(entry(projection, "weight", where), STORED, *((None, wide) if turned else (wide, None)))
        if entry(projection, "bias", where) is not None:
            tensors.fits(projection["bias"], STORED, shape[0 if turned else 1])
        _check_written(tensors, shape[0 if turned else 1], q)
    if (steps := site.get("steps")) is not None:
        _check_steps(steps, tensors, (every, groups), (q, k), dv)


def _check_written(tensors: Tensors, width: int, queries: int) -> None:
    """What the output projection returned; files of the first days have none of it."""
    written, rows = map(tensors.own, ("written", "written_rows"))
    if tensors.has(written) or tensors.has(rows):
        tensors.fits(written, FLOATS, *tensors.fits(rows, ("I32",), tuple(range(1, queries + 1))), width)


def _check_steps(steps: Any, tensors: Tensors, heads: tuple[int, int], rows: tuple[int, int], value_size: int) -> None:
    """What the steps level needs; of a file, for all heads or for none."""
    what = f"{tensors._what}, steps"
    held = several(entry(steps, "heads", what), f"{what} heads")
    if [whole(h, f"{what} heads", 0, heads[0] - 1) for h in held] != sorted(set(held)):
        raise ValueError(f"{what} heads are not in order")
    if not held:
        return
    every, groups = len(held), len({head // (heads[0] // heads[1]) for head in held})
    counts = {"q": every, "k": groups, "v": groups}
    length = {"q": rows[0], "k": rows[1]}
    widths: dict[str, int | None] = {}
    for letter, name in (("q", "x"), ("k", "x_keys")):
        own = tensors.own(name)
        widths[letter] = tensors.fits(own, FLOATS, length[letter], None)[1] if tensors.has(own) else None
    widths["k"] = widths["v"] = widths["k"] or (widths["q"] if rows[0] == rows[1] else None)
    for letter, count in counts.items():
        weight, bias = tensors.own(f"w_{letter}"), tensors.own(f"b_{letter}")
        if tensors.has(weight):
            size = value_size if letter == "v" else None
            shape = tensors.fits(weight, STORED, count, size, widths[letter])
            if tensors.has(bias):
                tensors.fits(bias, STORED, *shape[:2])
        for kind in ("pre_rotary", "pre_norm") if letter != "v" else ():
            if tensors.has(own := tensors.own(f"{kind}_{letter}")):
                tensors.fits(own, FLOATS, count, length[letter], None)
    named = entry(steps, "projections", what)
    if not isinstance(named, dict):
        raise ValueError(f"{what} projections is not a table of entries")
    for letter, facts in named.items():
        one_of(letter, ("q", "k", "v"), f"{what} projections")
        for name in ("path", "norm"):
            text(entry(facts, name, what), f"{what} {name}")
        real(entry(facts, "factor", what), f"{what} factor")
