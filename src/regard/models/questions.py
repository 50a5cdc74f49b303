"""An encoder-decoder whose decoder looks at what a second stack made of a question about the encoder's memory. No
family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.residual import Stack
from regard.models.transformer import EncoderDecoder, memory_mask


class Questioned(EncoderDecoder):
    """The source is seen by a question, and the question by the target (Li et al. 2022, figure 5)."""

    def __init__(self, config: Any, *, question_embed: nn.Module, question: Stack, **parts: Any) -> None:
        super().__init__(config, **parts)
        self.question_embed, self.question = question_embed, question

    def forward(  # type: ignore[override]
        self,
        source: Tensor,
        question: Tensor,
        target: Tensor,
        question_context: Context | None = None,
        context: Context | None = None,
    ) -> Tensor:
        """Logits (B, T, V) for target (B, T) given question (B, Q) about source (B, ...)."""
        question_context, context = question_context or Context(), context or Context()
        memory = self.ask(source, question, question_context)
        mask = memory_mask(question_context, context) & context.memory_mask
        return self.head(self.hidden(target, replace(context, memory=memory, memory_mask=mask)), context)

    def ask(self, source: Tensor, question: Tensor, context: Context | None = None) -> Tensor:
        """The memory (B, Q, D): the question's tokens once they have seen the source."""
        context = context or Context()
        seen = replace(context, memory=self.encode(source, Context(key=context.key)))
        seen = seen.open((question.shape[0], question.shape[1]), question.device)
        return self.question(self.question_embed(question, seen), seen)
