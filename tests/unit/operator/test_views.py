from __future__ import annotations

import pytest

from builders import pod_body
from qlora_api import names
from qlora_operator.views import pod_view


@pytest.mark.parametrize("text", ["foo", "-1", "1.5", ""])
def test_labels_that_anybody_may_write_break_nothing(text: str) -> None:
    body = pod_body(0)
    body["metadata"]["labels"] |= {names.LABEL_COMPLETION_INDEX: text, names.LABEL_ATTEMPT: text}
    view = pod_view(body)
    assert (view.completion_index, view.metadata.attempt) == (0, None)
