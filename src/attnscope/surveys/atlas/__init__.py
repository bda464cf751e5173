"""The atlas of a survey: an index of all heads, and a page for each. It reads the tables and writes HTML that opens from disk."""

from attnscope.surveys.atlas.read import example_name as example_name
from attnscope.surveys.atlas.write import write as write
