"""Hooked values against forward passes written from the weights alone, one function per family.

Nothing here calls a block, an attention or a norm of transformers: only weights and config are read.
Shapes: S positions, H heads, D size of a head, U units.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, linear, silu, softplus

from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.capture.inputs import encode_sentences
from babelscope.errors import StudyError
from babelscope.models.architectures import SITES
from babelscope.models.dimensions import dimensions, max_positions
from babelscope.models.hooks import ModuleEnd, site_modules, watching
from tiny_models import ARCHITECTURES, ENCODERS, record, tiny_loaded, tiny_model

#: Longer than the sliding windows of the tiny models.
IDS = torch.tensor([[0, 4, 9, 11, 6, 20, 8, 15, 23]])
S = IDS.shape[1]


class Hand:
    """A model's weights by name, and the values that are worked out by hand."""

    def __init__(self, model, prefix):
        self.weights = dict(model.state_dict())
        self.config = model.config
        self.prefix = prefix
        self.values = {}
        self.logits = None

    def __call__(self, name):
        return self.weights[self.prefix + name]

    def inside(self, name):
        """The same weights, seen from a module."""
        other = Hand.__new__(Hand)
        other.__dict__ = {**self.__dict__, "prefix": f"{self.prefix}{name}."}
        return other

    def map(self, x, name):
        return linear(x, self(name + ".weight"), self.weights.get(f"{self.prefix}{name}.bias"))

    def layer_norm(self, x, name, eps=1e-5):
        return layer_norm(x, x.shape[-1:], self(name + ".weight"), self(name + ".bias"), eps)

    def rms_norm(self, x, name, one=0.0):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config.rms_norm_eps)
        return x * scale * (one + self(name + ".weight"))

    def keep(self, layer, **values):
        for site, value in values.items():
            self.values[layer, site] = value


def heads(x, n):
    """(S, H * D) -> (H, S, D)."""
    return x.view(S, n, -1).transpose(0, 1)


def rotate(x, theta, share=1.0):
    """Rotary positions over the first ``share`` of each head, halves against halves."""
    width = int(x.shape[-1] * share)
    angle = torch.arange(S)[:, None] * theta ** (-torch.arange(0, width, 2).float() / width)[None]
    first, second, rest = x[..., : width // 2], x[..., width // 2 : width], x[..., width:]
    turned = [first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()]
    return torch.cat([*turned, rest], dim=-1)


def attend(q, k, v, *, scale=None, causal=True, window=None, bias=None, cap=None):
    """(H, S, D) each, keys and values perhaps of fewer heads -> (S, H * D)."""
    k, v = (x.repeat_interleave(len(q) // len(x), dim=0) for x in (k, v))
    scores = q @ k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    if bias is not None:
        scores = scores + bias
    if causal:
        back = torch.arange(S)[:, None] - torch.arange(S)[None]
        hidden = (back < 0) | (back >= (window or S))
        scores = scores.masked_fill(hidden, -torch.inf)
    elif window is not None:
        away = (torch.arange(S)[:, None] - torch.arange(S)[None]).abs()
        scores = scores.masked_fill(away > window, -torch.inf)
    return (scores.softmax(dim=-1) @ v).transpose(0, 1).reshape(S, -1)


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# ------------------------------------------------------------------------ Llama and its relatives

LLAMA = {"before": ("input_layernorm", "post_attention_layernorm"), "after": ("", "")}
OLMO_2 = {
    "before": ("", ""),
    "after": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "head_norm": "whole",
}
GEMMA = {**LLAMA, "act": gelu_tanh, "one": 1.0, "factor": True}
GEMMA_2 = {
    **GEMMA,
    "before": ("input_layernorm", "pre_feedforward_layernorm"),
    "after": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "windows": (4, None),
    "scale": 5**-0.5,
}
FAMILY = {
    "llama": LLAMA,
    "mistral": {**LLAMA, "windows": (4, 4)},
    "qwen2": {**LLAMA, "windows": (None, 4)},
    "qwen3": {**LLAMA, "head_norm": "head"},
    "gemma": GEMMA,
    "gemma2": {**GEMMA_2, "cap": 50.0},
    "gemma3_text": {**GEMMA_2, "head_norm": "head", "thetas": (1e4, 1e6)},
    "olmo": {**LLAMA, "plain_norm": True, "clip": 1.0},
    "olmo2": OLMO_2,
    "olmo3": {**OLMO_2, "windows": (4, None), "thetas": (5e5, 5e5)},
    "smollm3": {**LLAMA, "thetas": (2e6, None)},
    "olmoe": {**LLAMA, "head_norm": "whole", "clip": 1.0, "experts": "scores"},
    "mixtral": {**LLAMA, "windows": (4, 4), "thetas": (1e6, 1e6), "experts": "shares"},
    "qwen3_moe": {**LLAMA, "head_norm": "head", "experts": "scores"},
    "apertus": {
        **LLAMA, "before": ("attention_layernorm", "feedforward_layernorm"), "head_norm": "head",
        "xielu": True,
    },
}  # fmt: skip


def xielu(x, hand):
    """arXiv 2411.13010, with beta = 0.5 and eps = -1e-6."""
    positive = softplus(hand("alpha_p")) * x * x + 0.5 * x
    negative = (torch.expm1(x.clamp(max=-1e-6)) - x) * (0.5 + softplus(hand("alpha_n"))) + 0.5 * x
    return torch.where(x > 0, positive, negative)


def mixture(mlp, config, normed, act, weighting):
    """A plain loop over tokens and the experts that each is sent to; the rest of the neurons is 0."""
    scores = linear(normed, mlp("gate.weight")).softmax(dim=-1)
    weight, chosen = scores.topk(config.num_experts_per_tok, dim=-1)
    if weighting == "shares":
        weight = weight / weight.sum(dim=-1, keepdim=True)
    first, last = mlp("experts.gate_up_proj"), mlp("experts.down_proj")
    n, width = last.shape[0], last.shape[2]
    gates, others, acts = (torch.zeros(S, n, width) for _ in range(3))
    out = torch.zeros_like(normed)
    for token in range(S):
        for place, expert in enumerate(chosen[token].tolist()):
            both = first[expert] @ normed[token]
            gates[token, expert], others[token, expert] = both[:width], both[width:]
            acts[token, expert] = act(both[:width]) * both[width:]
            out[token] += weight[token, place] * (last[expert] @ acts[token, expert])
    return torch.cat([gates.flatten(1), others.flatten(1)], -1), acts.flatten(1), out


def by_hand_llama(model, *, before, after, act=silu, one=0.0, factor=False, head_norm="", clip=None,
                  plain_norm=False, xielu_=False, windows=(None, None), thetas=(1e4, 1e4), scale=None,
                  cap=None, experts=""):  # fmt: skip
    hand, config = Hand(model, "model."), model.config
    n, n_keys = config.num_attention_heads, config.num_key_value_heads

    def norm(at, x, name):
        if not name:
            return x
        return layer_norm(x, x.shape[-1:]) if plain_norm else at.rms_norm(x, name, one)

    x = hand("embed_tokens.weight")[IDS[0]]
    if factor:
        x = x * math.sqrt(config.hidden_size)
    hand.keep(0, resid=x)
    for layer in (1, 2):
        block = hand.inside(f"layers.{layer - 1}")
        attention, mlp = block.inside("self_attn"), block.inside("mlp")
        normed = norm(block, x, before[0])
        qkv = [attention.map(normed, name) for name in ("q_proj", "k_proj", "v_proj")]
        hand.keep(layer, attn_qkv=torch.cat(qkv, -1))
        q, k, v = qkv
        if head_norm == "whole":
            q, k = attention.rms_norm(q, "q_norm", one), attention.rms_norm(k, "k_norm", one)
        q, k, v = (part if clip is None else part.clamp(-clip, clip) for part in (q, k, v))
        q, k, v = heads(q, n), heads(k, n_keys), heads(v, n_keys)
        if head_norm == "head":
            q, k = attention.rms_norm(q, "q_norm", one), attention.rms_norm(k, "k_norm", one)
        theta, window = thetas[layer - 1], windows[layer - 1]
        if theta is not None:
            q, k = rotate(q, theta), rotate(k, theta)
        out = attention.map(attend(q, k, v, scale=scale, window=window, cap=cap), "o_proj")
        hand.keep(layer, attn_out=out)
        x = x + norm(block, out, after[0])
        normed = norm(block, x, before[1])
        if experts:
            mlp_in, mlp_act, out = mixture(mlp, config, normed, act, experts)
        else:
            up = mlp.map(normed, "up_proj")
            if xielu_:
                mlp_in, mlp_act = up, xielu(up, mlp.inside("act_fn"))
            else:
                gate = mlp.map(normed, "gate_proj")
                mlp_in, mlp_act = torch.cat([gate, up], -1), act(gate) * up
            out = mlp.map(mlp_act, "down_proj")
        x = x + norm(block, out, after[1])
        hand.keep(layer, mlp_in=mlp_in, mlp_act=mlp_act, mlp_out=out, resid=x)
    hand.last = layer_norm(x, x.shape[-1:]) if plain_norm else hand.rms_norm(x, "norm", one)
    return hand


# --------------------------------------------------------------------- older decoders, one by one


def older_block(hand, layer, x, *, qkv, out, mlp, norms, act, read, parallel=False, after=False, **attention):
    """Norms before the maps, or ``after`` the sums; ``read`` gives q, k, v of each head."""
    normed = x if after else hand.layer_norm(x, norms[0])
    parts = torch.cat([hand.map(normed, name) for name in qkv], -1)
    written = hand.map(attend(*read(parts), **attention), out)
    hand.keep(layer, attn_qkv=parts, attn_out=written)
    middle = x + written
    if after:
        middle = hand.layer_norm(middle, norms[0])
    normed = middle if after else hand.layer_norm(x if parallel else middle, norms[1])
    mlp_in = hand.map(normed, mlp[0])
    mlp_act = act(mlp_in)
    mlp_out = hand.map(mlp_act, mlp[1])
    x = middle + mlp_out
    if after:
        x = hand.layer_norm(x, norms[1])
    hand.keep(layer, mlp_in=mlp_in, mlp_act=mlp_act, mlp_out=mlp_out, resid=x)
    return x


def blocks_of(qkv):
    return [heads(part, 2) for part in qkv.chunk(3, dim=-1)]


def interleaved(n):
    """Head by head: its query, its key, its value."""
    return lambda qkv: qkv.view(S, n, 3, -1).permute(2, 1, 0, 3)


APART = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": "self_attn.out_proj",
    "mlp": ("fc1", "fc2"),
    "norms": ("self_attn_layer_norm", "final_layer_norm"),
    "read": blocks_of,
}


def by_hand_xglm(model):
    hand = Hand(model, "model.")
    half = 8
    angle = (torch.arange(S) + 2)[:, None] * torch.exp(-torch.arange(half) * math.log(10000) / (half - 1))
    positions = torch.cat([angle.sin(), angle.cos()], dim=1)
    positions[model.config.pad_token_id - 2] = 0  # the table has a hole at the row of the padding token
    x = 4.0 * hand("embed_tokens.weight")[IDS[0]] + positions
    hand.keep(0, resid=x)
    for layer in (1, 2):
        x = older_block(hand.inside(f"layers.{layer - 1}"), layer, x, act=gelu, **APART)
    hand.last = hand.layer_norm(x, "layer_norm")
    return hand


def by_hand_opt(model):
    hand, after = Hand(model, "model.decoder."), not model.config.do_layer_norm_before
    x = hand("embed_tokens.weight")[IDS[0]]
    if "model.decoder.project_in.weight" in hand.weights:
        x = hand.map(x, "project_in")
    x = x + hand("embed_positions.weight")[2 : S + 2]
    hand.keep(0, resid=x)
    for layer in (1, 2):
        x = older_block(hand.inside(f"layers.{layer - 1}"), layer, x, act=torch.relu, after=after, **APART)
    hand.last = x if after else hand.layer_norm(x, "final_layer_norm")
    if "model.decoder.project_out.weight" in hand.weights:
        hand.last = hand.map(hand.last, "project_out")
    return hand


def by_hand_gpt2(model):
    hand = Hand(model, "transformer.")
    for name, value in hand.weights.items():
        if name.startswith("transformer.h.") and value.ndim == 2:
            hand.weights[name] = value.T  # kept the other way round
    x = hand("wte.weight")[IDS[0]] + hand("wpe.weight")[:S]
    hand.keep(0, resid=x)
    for layer in (1, 2):
        x = older_block(
            hand.inside(f"h.{layer - 1}"), layer, x, qkv=("attn.c_attn",), out="attn.c_proj",
            mlp=("mlp.c_fc", "mlp.c_proj"), norms=("ln_1", "ln_2"), act=gelu_tanh, read=blocks_of,
        )  # fmt: skip
    hand.last = hand.layer_norm(x, "ln_f")
    return hand


def slopes(n):
    """ALiBi's, also for numbers of heads that are no power of two (arXiv 2108.12409)."""
    near = 2 ** math.floor(math.log2(n))
    own = [2 ** (-8 * (head + 1) / near) for head in range(near)]
    return own if near == n else own + slopes(2 * near)[0::2][: n - near]


def by_hand_bloom(model):
    hand, n = Hand(model, "transformer."), model.config.n_head
    x = hand.layer_norm(hand("word_embeddings.weight")[IDS[0]], "word_embeddings_layernorm")
    hand.keep(0, resid=x)
    bias = torch.tensor(slopes(n))[:, None, None] * torch.arange(S)[None, None]
    for layer in (1, 2):
        x = older_block(
            hand.inside(f"h.{layer - 1}"), layer, x, qkv=("self_attention.query_key_value",),
            out="self_attention.dense", mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), act=gelu_tanh,
            norms=("input_layernorm", "post_attention_layernorm"), read=interleaved(n), bias=bias,
        )  # fmt: skip
    hand.last = hand.layer_norm(x, "ln_f")
    return hand


def by_hand_gpt_neox(model):
    hand = Hand(model, "gpt_neox.")

    def read(qkv):
        q, k, v = interleaved(2)(qkv)
        return rotate(q, 1e4, 0.25), rotate(k, 1e4, 0.25), v

    x = hand("embed_in.weight")[IDS[0]]
    hand.keep(0, resid=x)
    for layer in (1, 2):
        x = older_block(
            hand.inside(f"layers.{layer - 1}"), layer, x, qkv=("attention.query_key_value",),
            out="attention.dense", mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), act=gelu,
            norms=("input_layernorm", "post_attention_layernorm"), read=read,
            parallel=model.config.use_parallel_residual,
        )  # fmt: skip
    hand.last = hand.layer_norm(x, "final_layer_norm")
    return hand


# -------------------------------------------------------------------------------------- encoders


def by_hand_bert(model, prefix="bert.", first=0):
    hand = Hand(model, prefix)
    hand_norm = Hand.layer_norm
    hand.layer_norm = lambda x, name: hand_norm(hand, x, name, 1e-12)
    table = hand.inside("embeddings")
    x = table("word_embeddings.weight")[IDS[0]] + table("token_type_embeddings.weight")[0]
    x = hand.layer_norm(x + table("position_embeddings.weight")[first : first + S], "embeddings.LayerNorm")
    hand.keep(0, resid=x)
    for layer in (1, 2):
        path = f"encoder.layer.{layer - 1}."
        qkv = [f"{path}attention.self.{name}" for name in ("query", "key", "value")]
        x = older_block(
            hand, layer, x, qkv=qkv, out=path + "attention.output.dense", act=gelu, read=blocks_of,
            mlp=(path + "intermediate.dense", path + "output.dense"), after=True, causal=False,
            norms=(path + "attention.output.LayerNorm", path + "output.LayerNorm"),
        )  # fmt: skip
    hand.last = x
    return hand


def by_hand_modernbert(model):
    hand = Hand(model, "model.")

    def norm(x, name):
        return layer_norm(x, x.shape[-1:], hand(name + ".weight"))

    x = norm(hand("embeddings.tok_embeddings.weight")[IDS[0]], "embeddings.norm")
    hand.keep(0, resid=x)
    for layer, theta, window in ((1, 1e4, 2), (2, 1.6e5, None)):
        path = f"layers.{layer - 1}."
        qkv = hand.map(x if layer == 1 else norm(x, path + "attn_norm"), path + "attn.Wqkv")
        q, k, v = blocks_of(qkv)
        written = attend(rotate(q, theta), rotate(k, theta), v, causal=False, window=window)
        out = hand.map(written, path + "attn.Wo")
        x = x + out
        mlp_in = hand.map(norm(x, path + "mlp_norm"), path + "mlp.Wi")
        gate, other = mlp_in.chunk(2, dim=-1)
        mlp_act = gelu(gate) * other
        mlp_out = hand.map(mlp_act, path + "mlp.Wo")
        x = x + mlp_out
        hand.keep(layer, attn_qkv=qkv, attn_out=out, mlp_in=mlp_in, mlp_act=mlp_act, mlp_out=mlp_out, resid=x)
    hand.last = norm(x, "final_norm")
    return hand


def by_hand(model):
    name = model.config.model_type
    if name in FAMILY:
        options = dict(FAMILY[name])
        return by_hand_llama(model, xielu_=options.pop("xielu", False), **options)
    if name in ("roberta", "xlm-roberta"):
        return by_hand_bert(model, "roberta.", model.config.pad_token_id + 1)
    return globals()[f"by_hand_{name}"](model)


def check(model):
    found = record(model, IDS)
    with torch.inference_mode():
        hand = by_hand(model)
        last = model.base_model(IDS).last_hidden_state[0]
    assert set(found) == set(hand.values)
    for unit, value in found.items():
        torch.testing.assert_close(
            value, hand.values[unit], rtol=1e-4, atol=1e-4, msg=lambda m, u=unit: f"{u} {m}"
        )
    torch.testing.assert_close(last, hand.last, rtol=1e-4, atol=1e-4)
    return hand


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_values_are_those_of_a_forward_pass_by_hand(name):
    check(tiny_model(name))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 12}),  # as OPT-350m
        ("opt", {"enable_bias": False}),
        ("bloom", {"n_head": 3, "hidden_size": 24}),  # no power of two: other slopes
        ("gpt_neox", {"use_parallel_residual": False}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        ("gpt2", {"tie_word_embeddings": False}),
        ("qwen3", {"attention_bias": True}),
        ("olmo", {"clip_qkv": None}),
        ("gemma2", {"attn_logit_softcapping": 0.5}),
        ("mistral", {"sliding_window": None}),
    ],
)  # fmt: skip
def test_values_by_hand_in_other_configs(name, config, monkeypatch):
    if name == "gemma2":
        monkeypatch.setitem(FAMILY, name, {**FAMILY[name], "cap": 0.5})
    if name == "mistral":
        monkeypatch.setitem(FAMILY, name, LLAMA)
    if name == "olmo":
        monkeypatch.setitem(FAMILY, name, {**FAMILY[name], "clip": None})
    check(tiny_model(name, **config))


FINAL_NORM = {
    "xglm": "model.layer_norm",
    "bloom": "transformer.ln_f",
    "gpt2": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "opt": "model.decoder.final_layer_norm",
    "modernbert": "model.final_norm",
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_are_block_outputs_before_the_final_norm(name):
    model = tiny_model(name)
    found = record(model, IDS, sites=("resid",))
    with torch.inference_mode():
        states = model(IDS, output_hidden_states=True).hidden_states
        for layer in (0, 1):
            torch.testing.assert_close(found[layer, "resid"], states[layer][0])
        if name in ENCODERS and name not in FINAL_NORM:  # BERT and its kin end with a block
            torch.testing.assert_close(found[2, "resid"], states[2][0])
            return
        assert not torch.allclose(found[2, "resid"], states[2][0], atol=1e-2)
        normed = model.get_submodule(FINAL_NORM.get(name, "model.norm"))(found[2, "resid"])
        torch.testing.assert_close(normed, states[2][0])


#: Norms over all queries together, as in OLMo-2, let one head change the others.
HEADS_APART = tuple(name for name in ARCHITECTURES if name not in ("olmo2", "olmo3", "olmoe"))


def head_units(config, what: str, head: int) -> range:
    """Where a head's queries, keys or values stand in the site ``attn_qkv``."""
    sizes, order = dimensions(config), ("query", "key", "value").index(what)
    if config["model_type"] in ("bloom", "gpt_neox"):
        start = (3 * head + order) * sizes.head
    else:
        start = (0, sizes.query, sizes.query + sizes.key)[order] + head * sizes.head
    return range(start, start + sizes.head)


@pytest.mark.parametrize("name", HEADS_APART)
@pytest.mark.parametrize("what", ["query", "key", "value"])
def test_heads_stand_one_after_the_other_or_interleaved(name, what):
    """Forced units of one head change what this head writes, and nothing that others write."""
    model = tiny_model(name)
    config, n = model.config.to_dict(), model.config.num_attention_heads
    n_there = n if what == "query" else getattr(model.config, "num_key_value_heads", n)
    (out,) = site_modules(model, "attn_out", 1)

    def written(units):
        seen = []
        one = UnitSet(
            [1] * len(units), ["attn_qkv"] * len(units), units, [0.7 + i for i in range(len(units))]
        )
        watcher = (ModuleEnd(out.module, "in"), lambda x: seen.append(x[0].clone()))
        with torch.inference_mode(), force_units(model, [one]), watching([watcher]):
            model(IDS)
        return seen[0].view(S, n, -1)

    free = written([])
    used: set[int] = set()
    for head in range(n_there):
        units = head_units(config, what, head)
        changed = (written(units) - free).abs().amax(dim=(0, 2)) > 1e-4
        shared = n // n_there
        assert changed.nonzero()[:, 0].tolist() == list(range(head * shared, (head + 1) * shared))
        assert not used & set(units)
        used |= set(units)


@pytest.mark.parametrize(
    ("name", "positions", "rows"),
    [("roberta", 512, 514), ("xlm-roberta", 512, 514), ("bert", 512, 512), ("opt", 512, 512)],
)
def test_the_longest_input_runs_and_one_token_more_does_not(name, positions, rows):
    loaded = tiny_loaded(name, max_position_embeddings=rows, pad_token_id=1)
    assert max_positions(loaded.config) == positions
    text = " ".join(["house"] * (positions + 5))
    (row,) = encode_sentences(loaded, [("a", text)], max_length=positions, where="sentences").rows
    assert len(row) == positions
    with torch.inference_mode():
        loaded.model(torch.full((1, positions), 5))
        with pytest.raises((IndexError, RuntimeError)):  # in the model: the table has no such row
            loaded.model(torch.full((1, positions + 1), 5))
    with pytest.raises(StudyError, match=f"max_length`: got {positions + 1}.*at most {positions}"):
        encode_sentences(loaded, [("a", text)], max_length=positions + 1, where="sentences")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_stands_behind_the_padding_changes_nothing(name):
    """Positions count from the start token, whatever follows; masked tokens are not seen."""
    loaded = tiny_loaded(name)
    alone = torch.cat([IDS, torch.full((1, 3), 2)], dim=1)
    other = torch.cat([IDS, torch.tensor([[9, 30, 12]])], dim=1)
    mask = torch.tensor([[1] * S + [0] * 3])
    with torch.inference_mode():
        short = loaded.model.base_model(input_ids=IDS).last_hidden_state
        for ids in (alone, other):
            padded = loaded.model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
            torch.testing.assert_close(padded[:, :S], short, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "roberta", "llama"])
def test_only_encoders_see_the_tokens_that_follow(name):
    model = tiny_model(name)
    changed = IDS.clone()
    changed[0, -1] = 30
    before, after = (record(model, ids, sites=("resid",))[2, "resid"] for ids in (IDS, changed))
    assert torch.allclose(before[0], after[0], atol=1e-5) is (name == "llama")


def test_all_places_give_sentences_and_positions():
    """OPT's MLP works on all tokens of a batch in one row; watchers see them by sentence."""
    model, seen = tiny_model("opt"), {}
    ids = IDS.expand(3, -1)
    watchers = [
        (place, lambda x, site=site: seen.setdefault(site, x.clone()))
        for site in SITES
        for place in site_modules(model, site, 1)[:1]
    ]
    with torch.inference_mode(), watching(watchers):
        model(ids)
    assert {site: tuple(x.shape[:2]) for site, x in seen.items()} == dict.fromkeys(SITES, (3, S))
    torch.testing.assert_close(seen["mlp_act"][2], record(model, IDS)[1, "mlp_act"])
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
