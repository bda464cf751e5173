"""One role table of the demo model for all tests that ask what a table holds."""

import pytest

import attnscope
from attnscope.head_roles import tasks
from attnscope.head_roles.treebank import read_treebank
from small_treebank import written


@pytest.fixture(scope="session")
def treebank(tmp_path_factory):
    return read_treebank(written(tmp_path_factory.mktemp("treebank"), 240))


@pytest.fixture(scope="session")
def table(demo, treebank):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "LENGTHS", tasks.LENGTHS[:10])
        return attnscope.roles(*demo, treebank=treebank, every=True)
