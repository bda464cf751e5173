"""The atlas of a survey: an index of all heads, and a page for each. It reads the tables and writes HTML that opens from disk."""

from attnscope.surveys.atlas.headvis import write_headvis as write_headvis
from attnscope.surveys.atlas.read import (
    example_name as example_name,
    shared_examples as shared_examples,
    texts_of as texts_of,
)
from attnscope.surveys.atlas.write import write as write
