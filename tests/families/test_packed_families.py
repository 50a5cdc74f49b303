"""Documents packed into one row get what they get alone, in every family."""

from __future__ import annotations

import pytest
import torch
from family_rows import Case, cases
from family_twins import Twins, some_tokens
from torch.testing import assert_close

from regard.layers import Context

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")
LENGTHS, TARGETS = (7, 7, 3, 19, 1), (5, 5, 11, 2, 3)
PLAIN = [case for case in cases() if not case.variant]  # what a variant changes, the other tests look at


@pytest.mark.parametrize("case", PLAIN, ids=[case.name for case in PLAIN])
def test_packing(case: Case, twins: Twins) -> None:
    tokens, targets = some_tokens(1, sum(LENGTHS)), some_tokens(1, sum(TARGETS), seed=2)
    with torch.no_grad():
        if case.kind == "seq2seq":
            packed = twins.model(tokens, targets, Context.packed(LENGTHS), Context.packed(TARGETS))
            rows = zip(tokens.split(LENGTHS, 1), targets.split(TARGETS, 1), strict=True)
            alone = [twins.model(source, target) for source, target in rows]
        else:
            packed = twins.model.hidden(tokens, Context.packed(LENGTHS))
            alone = [twins.model.hidden(row) for row in tokens.split(LENGTHS, 1)]
        assert_close(packed, torch.cat(alone, 1))
