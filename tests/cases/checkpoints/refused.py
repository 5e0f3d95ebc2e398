"""Folders whose files are not exactly the model of their config.json."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from checkpoint_cases import as_bin, case, edit, edit_config, in_shards
from tiny_models import tiny_model

DOWN = "model.layers.1.mlp.down_proj.weight"


def _to_fp8(tensors):
    for name in [name for name in tensors if "proj" in name]:
        scale = tensors[name].abs().max() / 448
        tensors[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale.reshape(1, 1)


@case("llama", "14 of its tensors are stored as F8_E4M3; the first is model.layers.0.mlp.down_proj.weight")
def fp8_with_scales(folder: Path) -> None:
    """FP8 weights beside scales that nobody applies: they were 6,630 times too large."""
    edit(folder, _to_fp8)


@case("llama", "stored as float8_e4m3fn", late=True)
def fp8_as_bin(folder: Path) -> None:
    """The same in a pickle."""
    edit(folder, _to_fp8)
    as_bin(folder)


@case("llama", "1 of its tensors are stored as I8")
def eight_bit_integers(folder: Path) -> None:
    """A matrix in 8 bits, its scale in another file."""
    edit(folder, lambda tensors: tensors.update({DOWN: tensors[DOWN].to(torch.int8)}))


@case("llama", "stored as U8")
def packed_four_bits(folder: Path) -> None:
    """Two weights in a byte."""
    edit(folder, lambda tensors: tensors.update({DOWN: torch.zeros(16, 20, dtype=torch.uint8)}))


@case("llama", r"config.json has quantization_config \(fp8\)")
def quantised_by_its_config(folder: Path) -> None:
    """config.json asks for a quantiser, which may be installed or not."""
    edit_config(folder, quantization_config={"quant_method": "fp8"})


@case("llama", r"config.json has quantization_config \(no quant_method\)")
def quantised_by_an_empty_entry(folder: Path) -> None:
    """The entry is there, and empty."""
    edit_config(folder, quantization_config={})


@case("llama", "lacks 1 weights; the first is lm_head.weight")
def no_head_in_an_untied_model(folder: Path) -> None:
    """It would be drawn at random."""
    edit(folder, lambda tensors: tensors.pop("lm_head.weight"))


@case("llama", r"its lm_head.weight has shape \(9, 16\)")
def a_head_of_another_vocabulary(folder: Path) -> None:
    """The head of a model of fewer words."""
    edit(folder, lambda tensors: tensors.update({"lm_head.weight": torch.ones(9, 16)}))


@case("llama", "lacks 6 weights; the first is model.layers.0.mlp.gate_proj.bias")
def biases_that_only_the_config_has(folder: Path) -> None:
    """config.json says that the maps of the MLP have biases, and the files hold none."""
    edit_config(folder, mlp_bias=True)


@case("gpt_neox", "lacks 4 weights; the first is gpt_neox.layers.0.attention.query_key_value.bias")
def biases_of_attention_are_missing(folder: Path) -> None:
    """Those of attention, which this architecture has unless it is told not to."""
    edit(
        folder,
        lambda tensors: [
            tensors.pop(name) for name in list(tensors) if ".attention." in name and "bias" in name
        ],
    )
    edit_config(folder, attention_bias=True)


@case("llama", r"its model.layers.1.input_layernorm.weight has shape \(8,\); config.json says \(16,\)")
def a_norm_of_another_width(folder: Path) -> None:
    """A norm of a narrower model."""
    edit(folder, lambda tensors: tensors.update({"model.layers.1.input_layernorm.weight": torch.ones(8)}))


@case("qwen3", r"self_attn.q_norm.weight has shape \(5,\)")
def a_norm_of_queries_of_another_width(folder: Path) -> None:
    """As wide as no head."""
    edit(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_norm.weight": torch.ones(5)}))


@case("gpt2", r"its transformer.h.0.attn.c_attn.bias has shape \(16,\); config.json says \(48,\)")
def a_bias_of_another_width(folder: Path) -> None:
    """As wide as the queries alone."""
    edit(folder, lambda tensors: tensors.update({"transformer.h.0.attn.c_attn.bias": torch.ones(16)}))


@case("llama", "does not use; the first is model.layers.00.input_layernorm.weight")
def a_block_of_two_digits(folder: Path) -> None:
    """Blocks are 00 and 01, which transformers does not know."""

    def rename(tensors):
        for name in [name for name in tensors if ".layers." in name]:
            tensors[name.replace(".layers.", ".layers.0")] = tensors.pop(name)

    edit(folder, rename)


@case("llama", "its index and its shards differ in 1 tensors; the first is model.norm.weight")
def an_index_of_pickles_that_names_what_is_not_there(folder: Path) -> None:
    """One shard, whose index names a norm that it lacks."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shard = "pytorch_model-00001-of-00001.bin"
    weight_map = dict.fromkeys(tensors, shard)
    del tensors["model.norm.weight"]
    torch.save(tensors, folder / shard)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@case(
    "llama",
    "holds 2 tensors that the model of its config.json does not use; the first is base_model.x.lora_A",
)
def scales_left_over(folder: Path) -> None:
    """An adapter's matrices in the file of the weights."""
    edit(
        folder,
        lambda tensors: tensors.update({f"base_model.x.lora_{ab}.weight": torch.ones(2, 2) for ab in "AB"}),
    )


@case("llama", "does not use")
def left_over_as_bin(folder: Path) -> None:
    """Tensors too many in a pickle."""
    edit(folder, lambda tensors: tensors.update({"model.layers.0.mlp.gate.weight": torch.ones(2, 2)}))
    as_bin(folder)


@case("llama", "does not use")
def a_bias_that_the_config_has_not(folder: Path) -> None:
    """A bias where attention_bias is false."""
    edit(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(16)}))


@case("gpt2", "holds an adapter beside the weights")
def an_adapter(folder: Path) -> None:
    """Where peft is installed transformers adds it to the weights."""
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    save_file({"x": torch.ones(2)}, folder / "adapter_model.safetensors")


@case("llama", "config.json has attn_implementation 'flash_attention_2'; allowed: eager, sdpa")
def attention_that_may_be_installed(folder: Path) -> None:
    """A way to compute attention that some machines have."""
    edit_config(folder, attn_implementation="flash_attention_2")


@case("bloom", "lacks 1 weights; the first is transformer.h.1.mlp.dense_4h_to_h.weight")
def a_matrix_is_missing(folder: Path) -> None:
    """It would be drawn at random."""
    edit(folder, lambda tensors: tensors.pop("transformer.h.1.mlp.dense_4h_to_h.weight"))


@case("bloom", "lacks 1 weights; the first is transformer.h.0.input_layernorm.bias")
def a_bias_is_missing(folder: Path) -> None:
    """The bias of a norm."""
    edit(folder, lambda tensors: tensors.pop("transformer.h.0.input_layernorm.bias"))


@case("llama", "hold 1 blocks, the last is 0; config.json says that there are 2")
def a_block_is_missing(folder: Path) -> None:
    """The files end too early."""
    edit(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if ".layers.1." in name])


@case("llama", "hold 2 blocks, the last is 1; config.json says that there are 1")
def a_block_too_many(folder: Path) -> None:
    """config.json is that of a smaller model."""
    edit_config(folder, num_hidden_layers=1)


@case("llama", r"gate_proj.weight has shape \(40, 16\); config.json says \(48, 16\)")
def another_width(folder: Path) -> None:
    """config.json names a wider MLP."""
    edit_config(folder, intermediate_size=48)


@case("gpt2", r"its transformer.wte.weight has shape")
def another_vocabulary(folder: Path) -> None:
    """A few rows fewer than config.json says."""
    edit(
        folder,
        lambda tensors: tensors.update({"transformer.wte.weight": tensors["transformer.wte.weight"][:-2]}),
    )


@case("llama", "its index and its shards differ in 1 tensors; the first is model.norm.weight")
def an_index_that_names_what_is_not_there(folder: Path) -> None:
    """A shard of another save lacks a norm that the index names."""
    first, second = in_shards(folder)
    for file in (first, second):
        tensors = load_file(file)
        if tensors.pop("model.norm.weight", None) is not None:
            save_file(tensors, file, {"format": "pt"})


@case("llama", "holds the tensor model.norm.weight twice")
def a_tensor_in_two_shards(folder: Path) -> None:
    """Shards of two saves: which of the two is loaded depends on their order."""
    first, _ = in_shards(folder)
    save_file({**load_file(first), "model.norm.weight": torch.zeros(16)}, first, {"format": "pt"})


@case("bloom", "holds transformer.h.0.mlp.dense_4h_to_h.weight under two names")
def one_weight_under_two_names(folder: Path) -> None:
    """The short name and the whole one, with other values: one of them won."""

    def change(tensors):
        whole = next(name for name in tensors if name.endswith("h.0.mlp.dense_4h_to_h.weight"))
        short = whole.removeprefix("transformer.")
        for name in {f"transformer.{short}", short} - {whole}:
            tensors[name] = 5 * tensors[whole]

    edit(folder, change)


@case("llama", r"holds the tensor model\.layers\.1\.mlp\.down_proj\.weight twice")
def one_tensor_in_two_pickled_shards(folder: Path) -> None:
    """The second shard has a tensor of the first, seven times as large."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = [f"pytorch_model-0000{at}-of-00002.bin" for at in (1, 2)]
    torch.save(tensors, folder / files[0])
    torch.save({DOWN: 7 * tensors[DOWN]}, folder / files[1])
    weight_map = {**dict.fromkeys(tensors, files[0]), DOWN: files[1]}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@case("llama", "its head differs from its word embeddings", late=True)
def another_head_in_a_tied_model(folder: Path) -> None:
    """config.json ties the head to the word embeddings, and the file has one of its own."""
    edit(
        folder, lambda tensors: tensors.update({"lm_head.weight": -3 * tensors["model.embed_tokens.weight"]})
    )
    edit_config(folder, tie_word_embeddings=True)


def _emptied(tensors):
    tensors.update({name: torch.empty(0) for name in tensors})


@case("llama", r"has shape \(0,\); config.json says .*\nhint: merge the parts of DeepSpeed")
def placeholders_of_deepspeed(folder: Path) -> None:
    """DeepSpeed keeps the weights elsewhere, and leaves empty tensors here."""
    edit(folder, _emptied)


@case("llama", r"has shape \(0,\).*\nhint: merge the parts of DeepSpeed")
def placeholders_of_deepspeed_as_bin(folder: Path) -> None:
    """The same in a pickle."""
    edit(folder, _emptied)
    as_bin(folder)


@case("olmoe", "lacks 1 weights; the first is model.layers.1.mlp.experts.3.up_proj.weight")
def an_expert_without_a_map(folder: Path) -> None:
    """One of the maps of one expert is gone."""
    edit(folder, lambda tensors: tensors.pop("model.layers.1.mlp.experts.3.up_proj.weight"))


@case("mixtral", "holds 3 tensors .* the first is model.layers.0.block_sparse_moe.experts.5.w1.weight")
def an_expert_too_many(folder: Path) -> None:
    """A sixth expert, of which config.json does not know."""

    def add(tensors):
        for name in ("w1", "w2", "w3"):
            path = "model.layers.0.block_sparse_moe.experts"
            tensors[f"{path}.5.{name}.weight"] = tensors[f"{path}.4.{name}.weight"]

    edit(folder, add)


@case("qwen3_moe", r"its model.layers.1.mlp.gate.weight has shape \(4, 16\); config.json says \(5, 16\)")
def a_router_for_fewer_experts(folder: Path) -> None:
    """As many rows as another model has experts."""
    edit(folder, lambda tensors: tensors.update({"model.layers.1.mlp.gate.weight": torch.ones(4, 16)}))


@case("bert", "holds bert.encoder.layer.0.output.LayerNorm.weight under two names")
def a_norm_under_its_old_name_too(folder: Path) -> None:
    """The norms of BERT were once called gamma and beta; a second one was loaded in place of the first."""
    name = "bert.encoder.layer.0.output.LayerNorm.gamma"
    edit(folder, lambda tensors: tensors.update({name: 9 * torch.ones(16)}))


@case("llama", "does not use; the first is model.norm.gamma")
def an_old_name_that_the_model_never_had(folder: Path) -> None:
    """Only encoders had such names."""
    edit(folder, lambda tensors: tensors.update({"model.norm.gamma": torch.ones(16)}))


@case("llama", "lacks 1 weights; the first is model.norm.weight")
def the_last_norm_is_missing(folder: Path) -> None:
    """It would be ones."""
    edit(folder, lambda tensors: tensors.pop("model.norm.weight"))


@case("gemma3_text", "lacks 1 weights; the first is model.layers.1.self_attn.q_norm.weight")
def a_norm_of_queries_is_missing(folder: Path) -> None:
    """That of one block."""
    edit(folder, lambda tensors: tensors.pop("model.layers.1.self_attn.q_norm.weight"))


@case("gpt2", "lacks 2 weights; the first is transformer.h.0.attn.c_attn.bias")
def biases_that_are_always_there_are_missing(folder: Path) -> None:
    """No key of the config takes them away."""
    edit(folder, lambda tensors: [tensors.pop(f"transformer.h.{at}.attn.c_attn.bias") for at in (0, 1)])


@case("qwen2", "lacks 1 weights; the first is model.layers.0.self_attn.q_proj.bias")
def a_bias_of_queries_is_missing(folder: Path) -> None:
    """Qwen2 has them for queries, keys and values ..."""
    edit(folder, lambda tensors: tensors.pop("model.layers.0.self_attn.q_proj.bias"))


@case("qwen2", "does not use; the first is model.layers.0.self_attn.o_proj.bias")
def a_bias_of_the_output_too_many(folder: Path) -> None:
    """... and for the output none."""
    edit(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.o_proj.bias": torch.ones(16)}))


@case("mistral", "does not use; the first is model.layers.0.self_attn.q_proj.bias")
def a_bias_that_no_config_could_have(folder: Path) -> None:
    """Of an architecture without any."""
    edit(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(16)}))


@case("llama", "does not use; the first is model.layers.0.self_attn.k_proj.bias")
def biases_of_which_the_config_says_nothing(folder: Path) -> None:
    """Configs of the first Llamas lack the key, which means that there are none."""
    tiny_model("llama", attention_bias=True).save_pretrained(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    del config["attention_bias"]
    file.write_text(json.dumps(config))


@case("llama", "does not use; the first is lm_head.bias")
def a_bias_of_the_head(folder: Path) -> None:
    """A head of another training."""
    edit(folder, lambda tensors: tensors.update({"lm_head.bias": torch.ones(37)}))


@case("gpt2", "lacks 1 weights; the first is transformer.wpe.weight")
def positions_are_missing(folder: Path) -> None:
    """The table of positions."""
    edit(folder, lambda tensors: tensors.pop("transformer.wpe.weight"))


@case("xlm-roberta", r"position_embeddings.weight has shape \(20, 16\); config.json says \(64, 16\)")
def positions_of_a_shorter_model(folder: Path) -> None:
    """Fewer rows than the config has positions."""
    name = "roberta.embeddings.position_embeddings.weight"
    edit(folder, lambda tensors: tensors.update({name: tensors[name][:20]}))


@case("bert", "lacks 1 weights; the first is bert.embeddings.token_type_embeddings.weight")
def types_of_tokens_are_missing(folder: Path) -> None:
    """An embedding that is added to every token."""
    edit(folder, lambda tensors: tensors.pop("bert.embeddings.token_type_embeddings.weight"))
