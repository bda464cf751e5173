"""The doctor: names the mistake in a hand-written attention function or module.

    attnscope.check(my_attention).raise_for_errors()

README.md beside this file says how it works. It never imports transformers; `findings` does without torch too.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from attnscope.doctor.diagnosis import Diagnosis
    from attnscope.doctor.dispatch import check
    from attnscope.doctor.findings import Finding, explain

__all__ = ["Diagnosis", "Finding", "check", "explain"]
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={"diagnosis": ["Diagnosis"], "dispatch": ["check"], "findings": ["Finding", "explain"]}
)
