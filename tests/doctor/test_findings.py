"""Every entry of the registry is its own test: its wrong example gives this finding, its right one none."""

import importlib.util
import linecache
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnscope
from attnscope.doctor.code_check.match import search
from attnscope.doctor.code_check.match.mistakes import MISTAKES
from attnscope.doctor.code_check.run.child_process import examine_file
from attnscope.doctor.diagnosis import Diagnosis
from attnscope.doctor.findings import ENTRIES, REGISTRY, SEVERITIES, Finding, explain, finding
from attnscope.errors import InputError

ROOT = Path(__file__).parents[2]
HEADER = "import math, torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
ON_THE_COMMAND_LINE = "attnscope check "


def ids_in(code, call, name, tmp_path):
    """Ids of what the doctor finds in this example, and whether it passes."""
    if call.startswith(ON_THE_COMMAND_LINE):
        (tmp_path / "FILE.py").write_text(HEADER + code)
        answer = examine_file(str(tmp_path / call.removeprefix(ON_THE_COMMAND_LINE)), {}, limit=60)
        return [found["name"] for found in answer["json"]["findings"]], answer["code"] == 0
    file = f"<example {name}>"
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)  # so that the doctor reads its comments
    space = {"math": math, "torch": torch, "F": F, "nn": nn, "attnscope": attnscope}
    torch.manual_seed(0)
    exec(compile(code, file, "exec"), space)
    diagnosis = eval(call, space)
    return [found.name for found in diagnosis.findings], bool(diagnosis)


def examples(entry, tmp_path):
    """(ids, whether it passes) of the wrong example and of the right one."""
    if callable(entry.wrong):
        diagnoses = entry.wrong(), entry.right()
        return [([found.name for found in d.findings], bool(d)) for d in diagnoses]
    codes = dict(zip(("wrong", "right"), entry.codes(), strict=True))
    return [ids_in(code, entry.call, f"{entry.id} {which}", tmp_path) for which, code in codes.items()]


def marked(entry):
    marks = [pytest.mark.packaging] if entry.call.startswith(ON_THE_COMMAND_LINE) else []
    if entry.id == "needs-a-gpu":
        marks.append(pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one"))
    return pytest.param(entry, id=entry.id, marks=marks)


# What no recipe explains: the search in vain is not the matter here.
BY_PROOF = ("outputs-alike", "projection-partly-unused", "projection-unused", "order-of-tokens", "row-sums-by-length")


@pytest.mark.parametrize("entry", [marked(entry) for entry in ENTRIES])
def test_the_wrong_example_is_found_and_the_right_one_is_clean(entry, tmp_path, monkeypatch):
    monkeypatch.setattr("attnscope.doctor.code_check.run.sandbox.LIMIT", 2.0)  # what never returns need not take longer
    if entry.id in BY_PROOF:
        monkeypatch.setattr(search, "PATIENCE", {"right": 300, "windows": 60, 1: 120, 2: 20})
    (wrong, passes), (right, cured) = examples(entry, tmp_path)
    assert wrong == [entry.id]
    assert entry.severity == "note" or passes == (entry.severity == "warning")
    assert right == []
    assert cured


def test_ids_are_unlike_and_texts_are_whole():
    assert [id for id, count in Counter(entry.id for entry in ENTRIES).items() if count > 1] == []
    for entry in ENTRIES:
        assert entry.severity in SEVERITIES
        assert all((entry.what, entry.title, entry.cure, entry.invariant, entry.place)), entry.id
        assert "{" not in entry.what, f"{entry.id}: its title has fields, so `what` must say it in general"


def test_every_mistake_of_a_recipe_has_an_entry():
    assert {mistake.name for mistake in MISTAKES} <= set(REGISTRY)


def test_a_finding_has_its_fields_filled_in():
    found = finding("softmax-over-queries", line=3, queries=-2, shape="(query, key)", evidence="0.5")
    assert found.title == "softmax runs over queries (dim=-2); keys are dim=-1 of (query, key)"
    assert (found.row, found.line, found.severity, found.evidence) == (1, 3, "error", "0.5")
    with pytest.raises(KeyError, match="shape"):
        finding("softmax-over-queries", queries=-2)


def test_an_entry_explains_itself():
    text = explain("scale-linear")
    assert text.startswith("scale-linear (error, row 2 of the table of attention bugs)")
    assert all(
        part in text for part in ("Why: ", "Cure: ", "/ query.shape[-1]", "/ math.sqrt(query.shape[-1])", "https://")
    )
    with pytest.raises(InputError, match=r"got 'scale-liner'. Did you mean .*scale-linear"):
        explain("scale-liner")


@pytest.mark.source
def test_the_page_of_findings_is_what_the_registry_gives():
    spec = importlib.util.spec_from_file_location("findings_page", ROOT / "tools/findings.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    stale = "docs/reference/findings.md is stale; run: python tools/findings.py"
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), stale


# --- severity -----------------------------------------------------------------------------------------------------------


def found_as(severity):
    return Finding("x", None, "x", "", "", "", "", "", severity=severity)


@pytest.mark.parametrize(
    ("severities", "compared", "code", "strict"),
    [
        ([], True, 0, 0),
        (["note"], True, 0, 0),
        (["warning", "note"], True, 0, 1),
        (["warning", "error"], True, 1, 1),
        ([], False, 3, 3),
        (["note"], False, 3, 3),
        (["warning"], False, 3, 1),
        (["error"], False, 1, 1),
    ],
)
def test_exit_codes_follow_severity(severities, compared, code, strict):
    findings = tuple(found_as(severity) for severity in severities)
    for asked, expected in ((False, code), (True, strict)):
        diagnosis = Diagnosis("it", findings, compared=compared, strict=asked)
        assert diagnosis.exit_code == expected
        assert bool(diagnosis) == (expected == 0)
        assert diagnosis.to_dict()["passed"] == (expected == 0)


def textbook(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ value


def test_a_textbooks_mask_is_a_warning():
    diagnosis = attnscope.check(textbook)
    assert [(found.name, found.severity) for found in diagnosis.findings] == [("empty-row-nan", "warning")]
    assert diagnosis.headline == "textbook: 1 warning"
    assert diagnosis
    assert not attnscope.check(textbook, strict=True)


def test_errors_come_before_warnings():
    def both(query, key, value, mask=None):
        return textbook(query * math.sqrt(query.shape[-1]), key, value, mask)

    assert [found.severity for found in attnscope.check(both).findings] == ["error", "warning"]


class Bent(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.gate, self.o = (nn.Linear(20, 20) for _ in range(5))

    def forward(self, x):
        return self.o(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)) * self.gate(x).cos())


class Unrun(nn.Module):
    """Its view fails, whatever it is called with."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(20, 60), nn.Linear(20, 20)

    def forward(self, x):
        q, k, v = (part.view(x.shape[0], 4, x.shape[1], 5) for part in self.qkv(x).chunk(3, -1))
        return self.out(((q @ k.mT / 5**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_what_could_not_be_compared_does_not_pass():
    diagnosis = attnscope.check(Bent())
    assert (diagnosis.findings, diagnosis.exit_code, bool(diagnosis)) == ((), 3, False)
    assert diagnosis.headline.startswith("Bent: not compared: no reading of its parameters")
    allowed = attnscope.check(Unrun(), allow_uncompared=True)
    assert (allowed.exit_code, bool(allowed), allowed.compared) == (0, True, False)
    assert allowed.headline.startswith("Unrun: not compared: no way of calling it was found")
    with pytest.raises(InputError, match="allow_uncompared"):
        attnscope.check(Bent(), text="A text.", allow_uncompared=True)
