"""link_packages.py ENVIRONMENT REQUIREMENT… [--no-deps REQUIREMENT…]: fills an empty environment with what the requirements need, and no more.

A requirement is a package, or a wheel with its extras: dist/attnscope-1.0-py3-none-any.whl[plot,serve]. Of a wheel only
the dependencies are meant. They are linked from the environment of the Python that runs this, each with all that it
needs itself, but those after --no-deps alone. Links take a second where `pip install` takes a minute or two. A package that nothing has declared stays
out of reach, one that is missing here or has another version than was asked for is an error.
"""

import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def declared(lines: list[str], extras: set[str]) -> Iterator[Requirement]:
    """The requirements among `lines` that hold on this machine for these extras."""
    for requirement in map(Requirement, lines):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras | {""}):
            yield requirement


def of_wheel(argument: str) -> list[Requirement]:
    """What a wheel declares: `path` or `path[extra,…]`."""
    path, _, extras = argument.rstrip("]").partition("[")
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    return list(declared(metadata.get_all("Requires-Dist", []), set(filter(None, extras.split(",")))))


def installed(requirement: Requirement) -> Distribution:
    """The distribution that meets a requirement; without one it is an error."""
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        raise SystemExit(f"Error: {requirement} is needed and is not installed in {sys.prefix}.") from None
    if not requirement.specifier.contains(found.version, prereleases=True):
        raise SystemExit(f"Error: expected {requirement}, got {found.version} in {sys.prefix}.")
    return found


def closure(requirements: list[Requirement]) -> dict[str, Distribution]:
    """Every distribution that the requirements need, directly or not, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found[name] = installed(requirement)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += declared(found[name].requires or [], {extra})
    return found


def link(one: Distribution, folder: Path) -> None:
    """Link what a distribution has put into its site-packages; its programs stay where they are."""
    paths = [PurePosixPath(str(file)) for file in one.files or []]
    for top in {path.parts[0] for path in paths} - {"..", "__pycache__"}:
        target = folder / top
        if not target.is_symlink():
            target.symlink_to(Path(str(one.locate_file(top))).resolve())


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("Error: link_packages.py takes an environment's folder and at least one requirement.")
    environment, *arguments = sys.argv[1:]
    base = {"base": environment, "platbase": environment}
    folder = Path(sysconfig.get_path("purelib", "venv", base))
    if not folder.is_dir():
        version = sysconfig.get_python_version()
        sys.exit(f"Error: expected an environment of Python {version}, got {environment}, which lacks {folder}.")
    end = arguments.index("--no-deps") if "--no-deps" in arguments else len(arguments)
    requirements: list[Requirement] = []
    for argument in arguments[:end]:
        requirements += of_wheel(argument) if ".whl" in argument else [Requirement(argument)]
    found = [*closure(requirements).values(), *(installed(Requirement(name)) for name in arguments[end + 1 :])]
    for one in found:
        link(one, folder)
    print(f"{len(found)} packages linked into {environment}")


if __name__ == "__main__":
    main()
