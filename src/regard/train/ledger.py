"""What a forward and a backward pass cost, counted on tensors without content: no memory is used, nothing is computed.

    with Ledger() as ledger:
        loss = task.loss(model, batch, Blank(0))        # model and batch on the device "meta"
        loss.backward()
    ledger.flops, ledger.moved, ledger.calls, ledger.peak

The pass runs through the model's own code, so the count holds for every family, task and length, and for a model whose
blocks are recomputed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from regard.ops.random import Key

aten: Any = torch.ops.aten
# What moving a byte and making a call cost beside a floating-point operation of a product. Between models they differ
# less than the speeds of machines do, which a real step measures.
BYTE, CALL = 6.0, 800_000.0


@dataclass(frozen=True)
class Blank(Key):
    """A key below which nothing is drawn: dropout's masks have their shapes and no content."""

    def at(self, *path: int) -> Blank:
        return self

    def keep(self, shape: Any, rate: float, device: torch.device | str = "cpu") -> Tensor:
        words = torch.empty((torch.Size(shape).numel() + 3) // 4, dtype=torch.int64, device=device)
        bits = words.view(torch.int16)[: torch.Size(shape).numel()]
        return (bits >= 0).view(tuple(shape))


class Ledger(TorchDispatchMode):
    """Counts what is done inside.

    flops  floating-point operations of the products: two for each multiplication and addition
    moved  bytes that the other operations read and write
    calls  operations that compute anything
    peak   the most bytes of new tensors that were alive at one time; `live`: those alive now
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.moved = self.calls = self.live = self.peak = 0
        self._known: dict[int, Any] = {}
        self._kernels = _kernels()

    @property
    def work(self) -> float:
        """One number for all of it, in operations of a product."""
        return self.flops + BYTE * self.moved + CALL * self.calls

    def __enter__(self) -> Ledger:
        self._kernels.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._kernels.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten._local_scalar_dense.default:
            return 0  # a number that depends on content; those here are lengths, which are small enough
        given = list(_tensors((args, kwargs)))
        before = {tensor.untyped_storage()._cdata for tensor in given}
        result = func(*args, **(kwargs or {}))
        made = list(_tensors(result))
        fresh = [tensor for tensor in made if tensor.untyped_storage()._cdata not in before]
        for tensor in fresh:
            self._born(tensor)
        if fresh or func._schema.is_mutable:  # what is neither is a view
            self.calls += 1
            products = _flops(func, given, made)
            self.flops += products
            if not products:
                self.moved += sum(tensor.numel() * tensor.element_size() for tensor in (*given, *made))
        return result

    def _born(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        name, size = storage._cdata, storage.nbytes()
        if name not in self._known:
            self._known[name] = weakref.ref(storage, lambda _: self._gone(name, size))
            self.live += size
            self.peak = max(self.peak, self.live)

    def _gone(self, name: int, size: int) -> None:
        if self._known.pop(name, None) is not None:
            self.live -= size


@contextmanager
def _kernels() -> Iterator[None]:
    """Within, what a CPU does in one kernel goes to that kernel; tensors without content would take it apart.

    The functions are exchanged where they stand: a mode of PyTorch's would not reach a block that runs a second time in
    the backward pass.
    """
    before = F.scaled_dot_product_attention, F.linear_cross_entropy
    F.scaled_dot_product_attention, F.linear_cross_entropy = _attention, _vocabulary_loss  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention, F.linear_cross_entropy = before


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        k, v = (state.repeat_interleave(q.shape[1] // state.shape[1], 1) for state in (k, v))
    if attn_mask is not None:  # it becomes numbers to add
        attn_mask = torch.empty(attn_mask.shape, dtype=q.dtype, device=q.device)
    core = aten._scaled_dot_product_flash_attention_for_cpu
    return core(q, k, v, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]


def _vocabulary_loss(
    rows: Tensor, weight: Tensor, targets: Tensor, *, linear_bias: Any, options: Any, **_: Any
) -> Tensor:
    return _VocabularyLoss.apply(rows, weight, linear_bias, options.batch_chunk_size)


class _VocabularyLoss(torch.autograd.Function):
    """The loss over a vocabulary in chunks of rows, whose gradients are made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, chunk: int) -> Tensor:
        ctx.rows, ctx.weight, ctx.bias = torch.empty_like(rows), torch.empty_like(weight), bias
        logits = rows.new_empty(min(chunk, len(rows)), len(weight))
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            some = logits[: len(part)]
            torch.mm(part, weight.T, out=some)
            some.sub_(1.0).exp_().mul_(1.0)
            torch.mm(some, weight, out=ctx.rows[start : start + chunk])
            ctx.weight.addmm_(some.T, part)
        return rows.new_empty(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        factor = gradients[0]
        bias = None if ctx.bias is None else torch.empty_like(ctx.bias)
        return ctx.rows * factor, ctx.weight * factor, bias, None


def _flops(func: Any, given: list[Tensor], made: list[Tensor]) -> int:
    packet = func.overloadpacket
    if packet in (aten.mm, aten.bmm):
        return 2 * given[0].numel() * given[1].shape[-1]
    if packet in (aten.addmm, aten.addmm_, aten.baddbmm):
        return 2 * given[1].numel() * given[2].shape[-1]
    if packet is aten._scaled_dot_product_flash_attention_for_cpu:
        return _attention_flops(*given[:3])
    if packet is aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return 5 * _attention_flops(*given[1:4]) // 2  # the scores once more, and two products for each of the two
    return 0


def _attention_flops(q: Tensor, k: Tensor, v: Tensor) -> int:
    B, H, T, K = q.shape
    return 2 * B * H * T * k.shape[2] * (K + v.shape[-1])


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
