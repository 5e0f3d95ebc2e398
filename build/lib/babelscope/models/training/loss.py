"""The loss of the next token, without ever holding the logits of a whole batch. For a CPU.

Over a vocabulary of 4,000 pieces the logits of the demo's batch are 24 MB, and its model's weights 2: writing
and reading logits and their gradients takes more than half of a training step. Here the head, the softmax and
their gradients are computed for some tokens at a time, which a cache holds.

Legend: B windows of a batch, L tokens of a window, N tokens of a batch, D width of the model, V pieces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

#: Logits held at once: 4 MB.
_LOGITS_AT_ONCE = 2**20

#: Tokens at once, at least: each time the gradient of the whole head is gone through.
_MIN_TOKENS = 256


class _HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of ``states @ weights.T``; the gradients come with it, in one pass."""

    @staticmethod
    def forward(
        ctx: Any, states_ND: torch.Tensor, weights_VD: torch.Tensor, ids_N: torch.Tensor
    ) -> torch.Tensor:
        n, n_pieces = len(states_ND), len(weights_VD)
        at_once = max(_MIN_TOKENS, _LOGITS_AT_ONCE // n_pieces)
        gradient_ND, gradient_VD = torch.empty_like(states_ND), torch.zeros_like(weights_VD)
        room = states_ND.new_empty(min(at_once, n), n_pieces)
        total = states_ND.new_zeros(())
        for start in range(0, n, at_once):
            part_ND, own_N1 = states_ND[start : start + at_once], ids_N[start : start + at_once, None]
            logits_NV = torch.mm(part_ND, weights_VD.T, out=room[: len(part_ND)])
            top_N1 = logits_NV.amax(dim=1, keepdim=True)
            own_logits_N1 = logits_NV.gather(1, own_N1)
            shares_NV = logits_NV.sub_(top_N1).exp_()
            sums_N1 = shares_NV.sum(dim=1, keepdim=True)
            total += (top_N1 + sums_N1.log() - own_logits_N1).sum()
            shares_NV.div_(sums_N1 * n)
            shares_NV.scatter_add_(1, own_N1, shares_NV.new_full(own_N1.shape, -1 / n))
            torch.mm(shares_NV, weights_VD, out=gradient_ND[start : start + at_once])
            gradient_VD.addmm_(shares_NV.T, part_ND)
        ctx.save_for_backward(gradient_ND, gradient_VD)
        return total / n

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        gradient_ND, gradient_VD = ctx.saved_tensors
        (factor,) = gradients
        return gradient_ND * factor, gradient_VD * factor, None


class NextTokenLoss:
    """Mean nats per token of windows, each token after the first given those before it.

    Args:
        model: A causal language model of transformers.
        whole: Compute the logits of a batch at once, as the model does it: always so on a GPU, and where a
            model does more to its logits than one matrix product (Gemma 2 caps them).
    """

    def __init__(self, model: Any, *, whole: bool = False) -> None:
        self._model = model
        self._head = model.get_output_embeddings()
        self.whole = whole or not self._fits()

    def __call__(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """What the model gives as ``loss``, but for rounding. Token ids without padding."""
        if self.whole:
            found: torch.Tensor = self._model(input_ids=ids_BL, labels=ids_BL, use_cache=False).loss
            return found
        states_BLD, _ = self._states(ids_BL)
        states_ND, next_N = states_BLD[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten()
        loss: torch.Tensor = _HeadLoss.apply(states_ND, self._head.weight, next_N)  # type: ignore[no-untyped-call]
        return loss

    def _fits(self) -> bool:
        head = self._head
        is_plain = isinstance(head, nn.Linear) and head.bias is None
        if not is_plain or head.weight.device.type != "cpu" or head.weight.dtype != torch.float32:
            return False
        # Tried once and not at each step: how many random numbers dropout takes must not depend on it.
        with torch.no_grad():
            return self._states(torch.zeros((1, 2), dtype=torch.long))[1]

    def _states(self, ids_BL: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """The states that the head gets, and whether the head is the last that is done to them."""
        taken: list[torch.Tensor] = []

        def keep(states_BLD: torch.Tensor) -> torch.Tensor:
            taken.append(states_BLD)
            return states_BLD

        self._head.forward = keep
        try:
            given = self._model(input_ids=ids_BL, use_cache=False).logits
        finally:
            del self._head.forward
        (states_BLD,) = taken
        return states_BLD, given is states_BLD
