"""The directive `gallery` of the docs: the instrument of a page of docs/gallery, in a frame."""

import base64
import html
from pathlib import Path
from typing import Any

import gallery
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from attnscope.render.page.html import frame


class Gallery(SphinxDirective):
    """`{gallery} KIND`. The content says what the picture shows, where the page has one."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[Any]:
        for tool in ("gallery", "gallery_toy"):
            self.env.note_dependency(str(Path(__file__).with_name(f"{tool}.py")))
        try:
            exhibit = gallery.build(self.arguments[0])
        except gallery.Absent as error:
            return [
                nodes.note("", nodes.paragraph(text=f"The live page is left out of this build of the docs: {error}."))
            ]
        page = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf-8")
        for phrase in gallery.unsaid(page, exhibit):
            logging.getLogger(__name__).warning(
                "the page does not say “%s”, which is true of its instrument", phrase, location=self.get_location()
            )
        return [nodes.raw("", _picture(exhibit.picture, " ".join(self.content)) + frame(exhibit.view), format="html")]


def _picture(png: bytes, says: str) -> str:
    if not png:
        return ""
    data = base64.b64encode(png).decode()
    return f'<p><img src="data:image/png;base64,{data}" alt="{html.escape(says)}" width="224" height="224" style="border:1px solid #888"></p>'
