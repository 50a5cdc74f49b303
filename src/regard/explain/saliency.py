"""Which input tokens the answer hangs on, by gradients with respect to the tokens' embedding vectors.

gradient_x_input       (dlogit/de) . e: to first order, what the token adds to the answer's logit
gradient_norm          |dlogit/de|: how strongly the logit reacts to the token, in any direction
integrated_gradients   gradient x input, its gradient averaged on the straight line from the zero vector to the
                       embedding (Sundararajan et al. 2017, equation 1); its sum is the change of the logit on that way
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regard.embed.tokens import Tokens
from regard.errors import RegardError
from regard.explain.question import Question, answer_logit, logits

STEPS = 32  # points on the line of integrated gradients, at the middles of equal pieces
AT_ONCE = 4096  # tokens in one pass: several points are computed as rows of a batch


@dataclass(frozen=True, kw_only=True, eq=False)
class Salience:
    """By method, a number (T,) for each token of one input, the sum over T being `rise` for integrated gradients
    up to its error: the change of the answer's logit between zero vectors (in all inputs) and the embeddings."""

    gradient_x_input: Tensor
    gradient_norm: Tensor
    integrated_gradients: Tensor


def saliency(model: Any, question: Question) -> tuple[list[Salience], float]:
    """For each input, the encoder's before the decoder's, its salience; and the rise of the answer's logit that the
    integrated gradients of all inputs together should sum to."""
    with torch.enable_grad():
        (at_end, gradients, vectors) = _gradients(model, question, torch.ones(1))
        means = [torch.zeros_like(each) for each in vectors]
        points = (torch.arange(STEPS) + 0.5) / STEPS
        for some in points.split(max(1, AT_ONCE // question.size)):
            _, steps, _ = _gradients(model, question, some)
            for mean, step in zip(means, steps, strict=True):
                mean += step.sum(0, keepdim=True) / STEPS
        at_start, _, _ = _gradients(model, question, torch.zeros(1))
    found = [
        Salience(
            gradient_x_input=(gradient * vector).sum(-1)[0],
            gradient_norm=gradient.norm(dim=-1)[0],
            integrated_gradients=(mean * vector).sum(-1)[0],
        )
        for gradient, mean, vector in zip(gradients, means, vectors, strict=True)
    ]
    return found, float(at_end - at_start)


def _gradients(model: Any, question: Question, scales: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """With every token's vector multiplied by scales (n,), a row of the batch each: the answer's logit (n,), its
    gradient (n, T, D) with respect to each input's vectors, and those vectors (1, T, D) unscaled."""
    with _leaves(model, scales) as found:
        value = answer_logit(question, logits(model, question, copies=len(scales)))
    leaves = [leaf for leaf, _ in found]
    gradients = torch.autograd.grad(value.sum(), leaves)
    return value.detach(), [gradient.float() for gradient in gradients], [vectors for _, vectors in found]


@contextmanager
def _leaves(model: nn.Module, scales: Tensor) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Within, the token vectors are scaled leaves of the graph; they are listed, with the vectors, as they are made."""
    found: list[tuple[Tensor, Tensor]] = []

    def scaled(module: nn.Module, arguments: Any, vectors: Tensor) -> Tensor:
        leaf = (vectors.detach() * scales.to(vectors)[:, None, None]).requires_grad_()
        found.append((leaf, vectors.detach()[:1].float()))
        return leaf

    embeddings = {id(module.tokens): module.tokens for module in model.modules() if isinstance(module, Tokens)}
    if not embeddings:
        raise RegardError("explain.no_tokens")
    handles = [embedding.register_forward_hook(scaled) for embedding in embeddings.values()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
