"""Everything that the doctor can find, one entry a finding, one file a family. It needs neither torch nor transformers.

The texts live here alone; a check says only which finding it is and fills in the numbers:

    case.findings.append(finding("row-sums", least=0.4, most=1.7))

To add a finding:

1. Write an `Entry` in the file of its family (`softmax.py`, `scale.py`, …). A new family is a new file with a tuple
   `ENTRIES`; name it in `FAMILIES` in `registry.py`.
   - `id`: lower-case words joined by "-", unlike every other id.
   - `severity`: "error" where the numbers are wrong; "warning" where they are right here and break elsewhere; "note".
   - `title`, `why`, `cure`, `evidence`, `invariant`, `place`: plain English, subject, verb, object. Named fields such as
     {heads} or {far:.2g} are filled in by the check. Where `title` has fields, `what` says the same in general.
   - `wrong`, `right`: real code, which the tests run. It may use torch, F, nn, math and attnscope, and defines `attention`;
     `call` says how it is checked where that is not attnscope.check(attention). `right` is code, or a pair: what to
     replace in `wrong`, and by what. Where an example needs a model, give two functions without arguments instead; each
     makes its model (imports go inside the function) and returns the Diagnosis. Their source is what readers see.
   - `reference`: the paper or the page that says so.
2. In the check, append `finding("the-id", line=…, field=…)`. A mistake that a recipe can make is a line in
   `code_check/match/mistakes.py` instead, under the same id.
3. Run `python tools/findings.py`: it writes docs/reference/findings.md.

`tests/doctor/test_findings.py` then finds the entry by itself: the wrong example must give this finding, the right one none.
"""

from attnscope.doctor.findings.entry import SEVERITIES, Entry, Finding, Severity
from attnscope.doctor.findings.registry import ENTRIES, REGISTRY, explain, finding

__all__ = ["ENTRIES", "REGISTRY", "SEVERITIES", "Entry", "Finding", "Severity", "explain", "finding"]
