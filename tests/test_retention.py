"""
Retention: what policies, pins and tags keep of random histories, and what goes.
"""

from __future__ import annotations

import shutil
import tempfile

from pathlib import Path

import hypothesis

from corruption import reference
from hypothesis import strategies as st
from retentionkit import WEIGHTS, Step, play

from castore.verify import verify


numbers = st.integers(0, 63)
steps = st.builds(
    Step, st.sampled_from(list(WEIGHTS)), numbers, numbers, st.integers(0, 1 << 30)
)
COLLECT = Step("collect", 1, 0, 1)


@hypothesis.given(st.lists(steps, min_size=3, max_size=40))
@hypothesis.settings(suppress_health_check=list(hypothesis.HealthCheck))
def test_what_stays_is_what_the_model_says(found: list[Step]) -> None:
    """
    In every history exactly that goes which no log and no tag keeps; a dry run says
    the same, a second run deletes nothing, and both checkers find nothing wrong.
    """
    root = Path(tempfile.mkdtemp(prefix="castore-"))
    try:
        play([Step("begin", 0, 0, 0), *found, COLLECT], root / "store")

        report = verify(root / "store")
        theirs = reference().check(root / "store")
        assert report.ok, report.findings
        assert theirs["ok"], theirs["findings"]
    finally:
        shutil.rmtree(root)
