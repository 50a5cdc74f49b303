"""The product of a linear layer is the same by either library, in a gradient's presence or absence."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from regard.layers.linear import Linear
from regard.ops.linear import linear


@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 7), (5, 1, 7), (2, 11, 7), (0, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_without_a_gradient_the_product_is_the_same(shape, bias):
    x, weight, offset = torch.randn(shape), torch.randn(13, 7), torch.randn(13) if bias else None
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, offset), F.linear(x, weight, offset))


def test_rows_that_do_not_lie_one_after_the_other():
    x, weight = torch.randn(7, 3, 5).transpose(0, 2), torch.randn(7, 13).T
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_pass(dtype):
    x, weight = torch.randn(3, 7, dtype=dtype), torch.randn(13, 7, dtype=dtype)
    with torch.no_grad():
        assert linear(x, weight).dtype == dtype


def test_a_layer_learns():
    layer = Linear(7, 13)
    layer(torch.randn(3, 7)).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0
