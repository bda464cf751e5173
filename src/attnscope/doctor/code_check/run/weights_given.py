"""Functions that take their weights, one by one or in a dictionary, as modules that hold such weights."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.parameters import role_of
from attnscope.doctor.code_check.run.sandbox import source_of

WIDTH, WIDTH_HEADS = 20, 4  # of what has no width of its own
_PART = r"(q|k|v|o|qkv|kv|query|key|value|out|c_?attn|c_?proj|in_?proj|out_?proj)"
_WEIGHT = re.compile(rf"^w_?{_PART}$|^{_PART}_?(w|weights?|kernel|proj\w*|matrix)$", re.IGNORECASE)
_BIAS = re.compile(rf"^b_?{_PART}$|^{_PART}_?(b|bias)$", re.IGNORECASE)
_TREE = re.compile(r"^(params?|parameters|weights|variables|state(_dict)?|theta|w|p)$", re.IGNORECASE)
_HEADS = re.compile(r"heads?$|^h$", re.IGNORECASE)
Path = tuple[str, ...]  # of a weight: the argument's name, or its keys in the dictionary


def of_weights(fn: Callable) -> Any:
    """A function of x and its weights as a module that holds such weights; others as they are."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return fn
    needed = [p.name for p in parameters if p.default is p.empty]
    tree = next((name for name in needed if _TREE.match(name)), None) if len(needed) > 1 else None
    paths = _keys(tree, source_of(fn)) if tree else []
    if not _enough(paths):
        tree, paths = None, [(name,) for name in needed if _WEIGHT.match(name) or _BIAS.match(name)]
    return WithWeights(fn, parameters, paths, tree) if _enough(paths) else fn


def _keys(tree: str, text: str) -> list[Path]:
    """The entries of the dictionary that the source names, such as params["q"] or params["q"]["kernel"]."""
    found = re.findall(rf"\b{tree}\[\s*['\"]([\w.]+)['\"]\s*\](?:\[\s*['\"](\w+)['\"]\s*\])?", text)
    if re.search(rf"\b{tree}\[\s*[a-z_]\w*\s*\]", text):  # a loop over the keys
        found += [(key, "") for key in re.findall(r"['\"](\w+)['\"]", text) if _WEIGHT.match(key) or _BIAS.match(key)]
    paths = list(dict.fromkeys((key, leaf) if leaf else (key,) for key, leaf in found))
    return [path for path in paths if role_of(_name(path)) or _is_bias(path)]


def _enough(paths: list[Path]) -> bool:
    """Whether queries, keys and values have their weights among them."""
    letters = {letter for path in paths if not _is_bias(path) for letter in role_of(_name(path)) or "" if letter != "o"}
    return letters == set("qkv")


def _is_bias(path: Path) -> bool:
    return bool(_BIAS.match(re.split(r"[./]", path[0])[-1])) if len(path) == 1 else path[1] in ("b", "bias")


def _name(path: Path) -> str:
    """The name of the parameter: as given where that says what it is for, else w_ or b_ and its part without "proj" and "kernel"."""
    if len(path) == 1 and (_WEIGHT.match(path[0]) or _BIAS.match(path[0])) and path[0][0] in "wWbB":
        return path[0]
    bare = (
        re.sub(r"_?(w|weights?|kernel|matrix|b|bias)$", "", path[0], flags=re.IGNORECASE) if len(path) == 1 else path[0]
    )
    bare = re.split(r"[./]", bare)[-1]
    return ("b_" if _is_bias(path) else "w_") + (re.sub(r"_|(?<=\w)_?proj\w*", "", bare).lower() or bare)


class WithWeights(nn.Module):
    """`fn` with weights of WIDTH x WIDTH (and biases) that are parameters; its forward takes what is left."""

    def __init__(self, fn: Callable, parameters: list[inspect.Parameter], paths: list[Path], tree: str | None) -> None:
        super().__init__()
        self.__wrapped__ = fn
        self._tree, self._paths = tree, {path: _name(path) for path in paths}
        for path, name in self._paths.items():
            role = role_of(re.sub(r"^[bB]_?", "", name)) or ""
            width = WIDTH * max(len(role), 1)
            made = (
                0.3 * probes.gaussian(name, width)
                if _is_bias(path)
                else probes.gaussian(name, WIDTH, width) * WIDTH**-0.5
            )
            self.register_parameter(name, nn.Parameter(made))
        heads = next((p for p in parameters if _HEADS.search(p.name)), None)
        must = heads is not None and heads.default is heads.empty
        default = None if heads is None else heads.default
        self._heads = heads.name if heads is not None and must else None
        self.heads = WIDTH_HEADS if must else default if isinstance(default, int) and default > 0 else 1
        taken = {self._heads, *([tree] if tree else [path[0] for path in paths])}
        self.__signature__ = inspect.Signature([p for p in parameters if p.name not in taken])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        weights: dict[str, Any] = {}
        for path, name in self._paths.items():
            weight: Tensor = getattr(self, name)
            if len(path) == 1:
                weights[path[0]] = weight
            else:
                weights.setdefault(path[0], {})[path[1]] = weight
        given: dict[str, Any] = {self._tree: weights} if self._tree else weights
        given |= {self._heads: self.heads} if self._heads else {}
        named = dict(zip(self.__signature__.parameters, args, strict=False))
        return self.__wrapped__(**named, **given, **kwargs)
