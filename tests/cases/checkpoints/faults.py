"""Faults of one step, 40, of a short training: the steps 0, 5, 10, 20, 40, 60, 80 and 100 lie side by side.

What is expected is a part of what the audit says of step 40, or nothing: the audit does not see it, and says
nothing of any step. Then docs/methods.md says so.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from checkpoint_cases import case, edit

UP_SHAPE = (48, 32)
UP, DOWN = "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"
QUERY = "model.layers.1.self_attn.q_proj.weight"


def at_step(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder.parent / str(step) / "model.safetensors")


@case("llama", "loss; distance: ")
def two_layers_exchanged(folder: Path) -> None:
    """All that is in block 0 and block 1 has changed places."""

    def swap(tensors):
        for name in [name for name in tensors if ".layers.0." in name]:
            other = name.replace(".layers.0.", ".layers.1.")
            tensors[name], tensors[other] = tensors[other], tensors[name]

    edit(folder, swap)


@case("llama", "1 of 21 tensors .*layers.1.self_attn.q_proj.weight (off its path)")
def a_matrix_transposed(folder: Path) -> None:
    """A square one, so that shapes fit."""
    edit(folder, lambda tensors: tensors.update({QUERY: tensors[QUERY].T}))


@case("llama", "tensor: 7 of 21 tensors .*(that of step 10)")
def a_shard_of_an_earlier_step(folder: Path) -> None:
    """The second half of the files is that of step 10."""
    other = at_step(folder, 10)
    edit(folder, lambda tensors: tensors.update({name: other[name] for name in sorted(tensors)[11:]}))


@case("llama", "tensor: 7 of 21 tensors .*(that of step 20)")
def a_shard_of_the_step_before(folder: Path) -> None:
    """The second half of the files is that of step 20."""
    other = at_step(folder, 20)
    edit(folder, lambda tensors: tensors.update({name: other[name] for name in sorted(tensors)[11:]}))


@case("llama", "tensor: 7 of 21 tensors .*(that of step 20)")
def a_layer_of_the_step_before(folder: Path) -> None:
    """A whole block that was not saved anew."""
    other = at_step(folder, 20)
    edit(
        folder,
        lambda tensors: tensors.update({name: other[name] for name in tensors if ".layers.1." in name}),
    )


@case("llama", "1 of 21 tensors .*embed_tokens.weight (off its path)")
def embeddings_permuted(folder: Path) -> None:
    """Rows of the embeddings in the order of another tokenizer."""
    name = "model.embed_tokens.weight"
    edit(folder, lambda tensors: tensors.update({name: tensors[name].flip(0)}))


@case("llama", "1 of 21 tensors .*norm.weight (one number everywhere)")
def a_norm_of_ones(folder: Path) -> None:
    """The last norm as it was before training."""
    edit(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(32)}))


@case("llama", "1 of 21 tensors .*up_proj.weight (one number everywhere)")
def a_matrix_of_zeros(folder: Path) -> None:
    """A matrix that was lost."""
    edit(folder, lambda tensors: tensors.update({UP: torch.zeros_like(tensors[UP])}))


@case("llama", r"1 of 21 tensors .*down_proj.weight (6% zeros)")
def rows_of_zeros(folder: Path) -> None:
    """Two rows of 32."""
    edit(folder, lambda tensors: tensors[DOWN][:2].zero_())


@case("llama", "nonfinite: 1 of .* weights are NaN or infinite, the first in embed_tokens.weight")
def not_a_number_in_a_row_that_is_never_used(folder: Path) -> None:
    """The last word stands in no sentence."""
    edit(folder, lambda tensors: tensors["model.embed_tokens.weight"][-1, -1].fill_(torch.nan))


@case("llama", "off the path")
def all_weights_twice_as_large(folder: Path) -> None:
    """Scaled, as by a wrong factor of quantisation."""
    edit(folder, lambda tensors: tensors.update({name: 2 * tensor for name, tensor in tensors.items()}))


@case("llama", "1 of 21 tensors .*down_proj.weight (off its path)")
def a_matrix_twice_as_large(folder: Path) -> None:
    """One scale was applied twice."""
    edit(folder, lambda tensors: tensors[DOWN].mul_(2))


@case("llama", "1 of 21 tensors .*down_proj.weight (off its path)")
def a_matrix_of_the_other_sign(folder: Path) -> None:
    """A sign turned."""
    edit(folder, lambda tensors: tensors[DOWN].neg_())


@case("llama", "1 of 21 tensors .*up_proj.weight (off its path)")
def a_matrix_drawn_anew(folder: Path) -> None:
    """Random weights of the same spread."""
    generator = torch.Generator().manual_seed(9)
    edit(
        folder,
        lambda tensors: tensors[UP].copy_(torch.randn(UP_SHAPE, generator=generator) * tensors[UP].std()),
    )


@case("llama", "1 of 21 tensors .*up_proj.weight (off its path)")
def a_matrix_rounded_to_few_bits(folder: Path) -> None:
    """Three values, as after quantising to 2 bits and back."""
    edit(folder, lambda tensors: tensors[UP].copy_(tensors[UP].std() * tensors[UP].sign()))


@case("llama")
def a_matrix_in_eight_bits_and_back(folder: Path) -> None:
    """Rounded to 127 steps: less than what training moves between two checkpoints."""
    edit(folder, lambda tensors: tensors[UP].copy_((tensors[UP] / tensors[UP].abs().max() * 127).round()
                                                   * tensors[UP].abs().max() / 127))  # fmt: skip


@case("llama")
def half_a_matrix_of_the_step_before(folder: Path) -> None:
    """Rows that were not saved anew, as by a rank that failed: the path only bends."""
    other = at_step(folder, 20)
    edit(folder, lambda tensors: tensors[DOWN][:16].copy_(other[DOWN][:16]))


@case("llama", "1 of 21 tensors .*down_proj.weight (off its path)")
def two_rows_exchanged(folder: Path) -> None:
    """Two of 32, which is more than training moves them."""
    edit(folder, lambda tensors: tensors[DOWN].copy_(tensors[DOWN][[1, 0, *range(2, 32)]]))


@case("llama")
def a_few_weights_changed(folder: Path) -> None:
    """Ten of a matrix: less than what training moves."""
    edit(folder, lambda tensors: tensors[DOWN].view(-1)[:10].add_(0.05))


@case("llama")
def a_norm_of_another_layer(folder: Path) -> None:
    """Vectors hardly move and have few entries: their paths are not compared."""
    norm = "model.layers.{}.input_layernorm.weight"
    edit(folder, lambda tensors: tensors.update({norm.format(1): tensors[norm.format(0)]}))
