"""Mixtures of experts: the neurons of all experts of a block, as if they stood side by side.

transformers keeps the maps of all experts of a block in two tensors and computes only what the router asks
for, in ways that no hook sees. A :class:`Tap` is a place for hooks inside: while something watches or changes
what passes a tap of a block, the block's experts are computed one after the other, in the plain way; else
nothing is changed.

Names of shapes: ``T`` tokens of a batch, ``K`` experts that the router chooses for each, ``E`` experts, ``F``
neurons of an expert, ``d`` width of the residual stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

#: What passes: of every expert its first maps, ``gate`` and ``other``, and ``act``, what goes into its last
#: one, of width E * F; ``sent`` 1 where the router sent the token to the expert, else 0, of width E.
TAPS = ("gate", "other", "act", "sent")

_Experts = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Tap(nn.Module):
    """Gives on what it takes, ``(T, width)``: by expert, then by neuron; 0 where a token was not sent."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_features = width

    @property
    def is_watched(self) -> bool:
        """Whether hooks stand here."""
        return bool(self._forward_pre_hooks)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The same values."""
        return values


def tap(experts: Any, name: str) -> Tap:
    """A tap of the experts of a block.

    Args:
        experts: Module of transformers with the maps of all experts of a block, ``gate_up_proj`` of shape
            ``(E, 2 * F, d)`` and ``down_proj`` of shape ``(E, d, F)``.
        name: One of :data:`TAPS`.
    """
    if not hasattr(experts, "taps"):
        n, width = experts.num_experts, experts.intermediate_dim
        experts.taps = nn.ModuleDict({each: Tap(n if each == "sent" else n * width) for each in TAPS})
        experts.forward = partial(_forward, experts, experts.forward)
    found: Tap = experts.taps[name]
    return found


def _forward(
    experts: Any, plain: _Experts, hidden_Td: torch.Tensor, index_TK: torch.Tensor, weight_TK: torch.Tensor
) -> torch.Tensor:
    """What transformers computes; by one expert after the other where something looks on."""
    if not any(each.is_watched for each in experts.taps.values()):
        return plain(hidden_Td, index_TK, weight_TK)
    n, taps = experts.num_experts, experts.taps
    if taps["sent"].is_watched:
        _seen(taps["sent"], hidden_Td.new_ones(*index_TK.shape, 1), index_TK, n)
    gate_TKF = hidden_Td.new_empty(*index_TK.shape, experts.intermediate_dim)
    other_TKF = torch.empty_like(gate_TKF)
    for expert, tokens, places in _chosen(index_TK, n):
        both = linear(hidden_Td[tokens], experts.gate_up_proj[expert])
        gate_TKF[tokens, places], other_TKF[tokens, places] = both.chunk(2, dim=-1)
    gate_TKF = _seen(taps["gate"], gate_TKF, index_TK, n)
    other_TKF = _seen(taps["other"], other_TKF, index_TK, n)
    act_TKF = _seen(taps["act"], experts.act_fn(gate_TKF) * other_TKF, index_TK, n)
    out_Td = torch.zeros_like(hidden_Td)
    for expert, tokens, places in _chosen(index_TK, n):
        part = linear(act_TKF[tokens, places], experts.down_proj[expert])
        out_Td.index_add_(0, tokens, (part * weight_TK[tokens, places, None]).to(out_Td.dtype))
    return out_Td


def _chosen(index_TK: torch.Tensor, n: int) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Each expert that some token was sent to, the tokens, and the place of the expert among theirs."""
    for expert in range(n):
        tokens, places = torch.where(index_TK == expert)
        if len(tokens):
            yield expert, tokens, places


def _seen(tap: Tap, values_TKF: torch.Tensor, index_TK: torch.Tensor, n: int) -> torch.Tensor:
    """Show the values of all experts to a tap, and read back those of the chosen ones."""
    if not tap.is_watched:
        return values_TKF
    tokens_T1 = torch.arange(len(index_TK), device=index_TK.device)[:, None]
    all_TEF = values_TKF.new_zeros(len(index_TK), n, values_TKF.shape[-1])
    all_TEF[tokens_T1, index_TK] = values_TKF
    seen: torch.Tensor = tap(all_TEF.flatten(1))
    return seen.view_as(all_TEF)[tokens_T1, index_TK]
