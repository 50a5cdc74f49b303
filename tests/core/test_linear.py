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


@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 7), (2, 11, 7), (0, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_pytorch(shape, bias):
    found = []
    for product in (linear, F.linear):
        torch.manual_seed(5)
        x, weight = torch.randn(shape, requires_grad=True), torch.randn(13, 7, requires_grad=True)
        offset = torch.randn(13, requires_grad=True) if bias else None
        product(x, weight, offset).sin().sum().backward()
        found.append([each.grad for each in (x, weight, offset) if each is not None])
    torch.testing.assert_close(*found)


def test_gradients_have_gradients():
    x, weight = (torch.randn(shape, dtype=torch.float32, requires_grad=True) for shape in ((3, 7), (13, 7)))
    found = []
    for product in (linear, F.linear):
        (slope,) = torch.autograd.grad(product(x, weight).sin().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().mean(), weight)[0])
    torch.testing.assert_close(*found)


def test_only_what_is_asked_for_gets_a_gradient():
    x, weight = torch.randn(3, 7), torch.randn(13, 7, requires_grad=True)
    linear(x, weight).sum().backward()
    assert x.grad is None and weight.grad is not None


def test_a_layer_learns():
    layer = Linear(7, 13)
    layer(torch.randn(3, 7)).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0
