"""The docs site: `make docs`. It opens from disk: nothing in it is fetched, not even a font.

The notebooks of the course are run while the site is built; what a cell raises ends the build. ATTNSCOPE_STATIC makes
what they show the page in a frame instead of the live widget. The pages of the gallery are made too (tools/gallery.py).
"""

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import course  # noqa: E402
from docstrings import to_rst  # noqa: E402
from gallery_directive import Gallery  # noqa: E402
from pygments.lexers.data import JsonLexer  # noqa: E402

import attnscope  # noqa: E402

# The kernels of the notebooks inherit these.
os.environ |= {"ATTNSCOPE_STATIC": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
logging.getLogger("traitlets").setLevel(logging.WARNING)  # nbclient tells which kernel it starts

project = "attnscope"
author = "the attnscope authors"
version = release = attnscope.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "course/README.md", "course/notebooks"]
suppress_warnings = [
    "mystnb.mime_priority",
    "misc.highlighting_failure",  # pages quote formats with … in them
]
nitpicky = True
# attnscope's public names lead somewhere wherever they stand. Inner types need not, and torch's would need the network.
nitpick_ignore_regex = [(r"py:.*", rf"(?!attnscope\.(\w+\.)*({'|'.join(attnscope.__all__)})$).*")]

html_theme = "furo"
html_title = f"attnscope {version}"
html_static_path = ["_static"]
html_css_files = ["attnscope.css"]
html_js_files = ["theme.js"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it would fetch pages, which a browser refuses from disk
html_theme_options: dict[str, Any] = {"top_of_page_buttons": []}

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_show_tb = (
    True  # a cell that raises is a warning with its traceback, and warnings are errors: --fail-on-warning
)
nb_merge_streams = True
nb_ipywidgets_js = {}  # no widget is drawn in the site, so nothing is asked of a CDN
nb_number_source_lines = False

default_role = "code"  # docstrings write `names` in single backquotes
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"show-inheritance": False}
python_maximum_signature_line_length = 90
maximum_signature_line_length = 90
add_module_names = False


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def _badge(app: Any, docname: str, source: list[str]) -> None:
    """Under the title of a notebook of the course: the same notebook, to be run."""
    stem = docname.removeprefix("course/")
    if docname.startswith("course/") and stem in course.names():
        source[0] = re.sub(r"^(# .*\n)", rf"\1\n{course.links(stem)}\n", source[0], count=1, flags=re.M)


def setup(app: Any) -> None:
    app.add_lexer("jsonc", JsonLexer)
    app.add_directive("gallery", Gallery)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("source-read", _badge)
