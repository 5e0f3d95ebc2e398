"""Folders that look odd and are sound: what older versions stored, and what is tied."""

from __future__ import annotations

from pathlib import Path

import torch

from checkpoint_cases import as_bin, case, edit, edit_config, in_shards


@case("gpt2")
def masks(folder: Path) -> None:
    """GPT-2 once stored its masks, in 8 bits."""
    mask = torch.ones(1, 1, 48, 48, dtype=torch.uint8)
    edit(folder, lambda tensors: tensors.update({f"transformer.h.{at}.attn.bias": mask for at in (0, 1)}))


@case("llama")
def rotary_frequencies(folder: Path) -> None:
    """Llama once stored its frequencies."""
    edit(
        folder,
        lambda tensors: tensors.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}),
    )


@case("bert")
def heads_that_never_run(folder: Path) -> None:
    """The pooler and the next-sentence head of BERT, and the numbers of positions."""
    odd = {
        "bert.pooler.dense.weight": torch.ones(16, 16),
        "bert.pooler.dense.bias": torch.ones(16),
        "cls.seq_relationship.weight": torch.ones(2, 16),
        "cls.seq_relationship.bias": torch.ones(2),
        "bert.embeddings.position_ids": torch.arange(64)[None],
    }
    edit(folder, lambda tensors: tensors.update(odd))


@case("bloom")
def names_without_the_first_part(folder: Path) -> None:
    """As BLOOM's own files have them."""

    def shorten(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    edit(folder, shorten)


@case("gpt2")
def a_tied_map_is_stored_too(folder: Path) -> None:
    """The last map, though it is the word embeddings."""
    edit(
        folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"].clone()})
    )


@case("gpt_neox")
def a_pickle(folder: Path) -> None:
    """Weights in a .bin file."""
    as_bin(folder)


@case("llama")
def shards(folder: Path) -> None:
    """Two shards and their index."""
    in_shards(folder)


@case("llama")
def eager_by_its_config(folder: Path) -> None:
    """sdpa and eager need nothing else."""
    edit_config(folder, attn_implementation="sdpa")


@case("llama")
def tuples_by_its_config(folder: Path) -> None:
    """Somebody trained with outputs as tuples, all states and the weights of attention."""
    edit_config(folder, return_dict=False, output_hidden_states=True, output_attentions=True)


@case("llama")
def a_null_for_a_quantiser(folder: Path) -> None:
    """The entry says that there is none."""
    edit_config(folder, quantization_config=None)


@case("bert")
def norms_by_their_old_names(folder: Path) -> None:
    """As BERT's own files have them."""

    def rename(tensors):
        for name in [name for name in tensors if "LayerNorm" in name]:
            tensors[name.replace("weight", "gamma").replace("bias", "beta")] = tensors.pop(name)

    edit(folder, rename)
