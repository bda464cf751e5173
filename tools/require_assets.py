"""A wheel or an sdist without the built front end would install and then show nothing: refuse to make one.

hatch runs this hook at each build. An editable install is let through: there the front end is built in place.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ASSETS = ("page.js", "widget.js", "serve.js", "edits.js")


class RequireAssets(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        static = Path(self.root, "src", "attnscope", "static")
        if missing := [name for name in ASSETS if not (static / name).is_file()]:
            raise FileNotFoundError(
                f"{static} lacks {' and '.join(missing)}: the front end has not been built. "
                "Run `make build` in a clone; the released wheel and sdist hold it ready-made."
            )
