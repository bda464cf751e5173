"""The directive `gallery` of the docs: the instrument of a page of docs/gallery, in a frame."""

from pathlib import Path
from typing import Any

import gallery
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from attnscope.render.page.html import frame


class Gallery(SphinxDirective):
    """`{gallery} KIND`."""

    required_arguments = 1

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
        return [nodes.raw("", frame(exhibit.view), format="html")]
