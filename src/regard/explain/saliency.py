"""Which input tokens the answer hangs on, by gradients with respect to the tokens' embedding vectors.

gradient_x_input       (dlogit/de) . e: to first order, what the token adds to the answer's logit
gradient_norm          |dlogit/de|: how strongly the logit reacts to the token, in any direction
integrated_gradients   (mean of dlogit/de on the straight line from the average vector of the vocabulary, a, to e)
                       . (e - a); all inputs move together, and the sum over all of them is the change of the logit on
                       that line (Sundararajan et al. 2017, equation 1 and completeness). The line does not start from
                       zero: there the norms of a model without additive positions jump.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.embed.tokens import Tokens
from regard.errors import RegardError
from regard.explain.question import Question, answer_logit, at_least_single, logits

STEPS = 32  # points on the line, placed and weighted by Gauss and Legendre
AT_ONCE = 4096  # tokens in one pass: several points are computed as rows of a batch


@dataclass(frozen=True, kw_only=True, eq=False)
class Salience:
    """By method, a number (T,) for each token of one input."""

    gradient_x_input: Tensor
    gradient_norm: Tensor
    integrated_gradients: Tensor


def saliency(model: Any, question: Question) -> tuple[list[Salience], float]:
    """For each input, the encoder's before the decoder's, its salience; and the rise of the answer's logit that the
    integrated gradients of all inputs together should sum to."""
    with torch.enable_grad():
        at_end, gradients, ends = _gradients(model, question, torch.ones(1))
        at_start, _, starts = _gradients(model, question, torch.zeros(1))
        means = [torch.zeros_like(each) for each in ends]
        points, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(STEPS))
        for some in torch.arange(STEPS).split(max(1, AT_ONCE // question.size)):
            _, slopes, _ = _gradients(model, question, (points[some] + 1) / 2)
            for mean, slope in zip(means, slopes, strict=True):
                mean += (slope * (weights[some] / 2).to(slope)[:, None, None]).sum(0, keepdim=True)
    found = [
        Salience(
            gradient_x_input=(gradient * end).sum(-1)[0],
            gradient_norm=gradient.norm(dim=-1)[0],
            integrated_gradients=(mean * (end - start)).sum(-1)[0],
        )
        for gradient, mean, start, end in zip(gradients, means, starts, ends, strict=True)
    ]
    return found, float(at_end - at_start)


def _gradients(model: Any, question: Question, places: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """With every token's vector at `places` (n,) on its line, a row of the batch each: the answer's logit (n,), its
    gradient (n, T, D) with respect to each input's vectors, and those vectors (n, T, D)."""
    with _leaves(model, places) as leaves:
        value = answer_logit(question, logits(model, question, copies=len(places)))
    gradients = torch.autograd.grad(value.sum(), leaves)
    return (
        value.detach(),
        [at_least_single(each) for each in gradients],
        [at_least_single(each.detach()) for each in leaves],
    )


@contextmanager
def _leaves(model: nn.Module, places: Tensor) -> Iterator[list[Tensor]]:
    """Within, the token vectors are leaves of the graph, each at `places` (n,) on the line from the vocabulary's
    average to itself; they are listed as they are made."""
    found: list[Tensor] = []

    def placed(embedding: nn.Embedding, arguments: Any, vectors: Tensor) -> Tensor:
        average, share = embedding.weight.detach().mean(0), places.to(vectors)[:, None, None]
        leaf = torch.lerp(average.expand_as(vectors), vectors.detach(), share).requires_grad_()
        found.append(leaf)
        return leaf

    embeddings = {id(module.tokens): module.tokens for module in model.modules() if isinstance(module, Tokens)}
    if not embeddings:
        raise RegardError("explain.no_tokens")
    handles = [embedding.register_forward_hook(placed) for embedding in embeddings.values()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
