"""The atlas of a survey: an index of all heads, and a page for each. It reads the tables and writes HTML that opens from disk."""

from attnscope.surveys.atlas.headvis import write_headvis as write_headvis
from attnscope.surveys.atlas.read import example_name as example_name, texts_of_examples as texts_of_examples
from attnscope.surveys.atlas.write import write as write
