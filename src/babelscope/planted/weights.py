"""Weights set by hand, in OPT's architecture, that do what :mod:`babelscope.planted.truth` declares.

The residual stream has a direction for each thing that is known of a word: its language, its concept, which
word it is; and directions that only the head reads, for what is to be written next. All are orthonormal,
and turned at random against the axes. Words have one length, so that LayerNorm is a factor that is known
beforehand. Values here are nominal: what a state holds after LayerNorm, where a language counts 1.

- **Units of concepts** are MLP units that fire on a word of their concept (private ones: in their language)
  and write that concept and a language for the head.
- **Taking the language out**, in block 3: a unit for each language takes away what it finds, but for the
  word that opens the sentence. Attention before it has added noise to these directions, of mean zero and
  unknown to the word itself, that hides what is left.
- **Bringing it back**, in block 5: attention looks for the word that opens the sentence, and copies its
  language.
- **Noise**: attention of the other blocks looks one word back, and writes noise that depends on that word;
  units without a task read and write noise.

Names of shapes: ``d`` width, ``V`` tokens, ``U`` units of a block.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelscope.planted.text import END, SPECIAL, START, vocabulary, words_of
from babelscope.planted.truth import (
    CONCEPT_LOGIT,
    EXPERTS,
    FADED_LAYERS,
    LANGUAGE_LOGIT,
    LANGUAGES,
    LAYERS,
    MISSED,
    OPENING,
    OPENING_AT_START,
    OTHERS,
    PER_LAYER,
    PIVOT,
    PIVOT_STRENGTH,
    RARE,
    Series,
)

Floats = NDArray[np.float64]

WIDTH, HEADS, UNITS, POSITIONS = 64, 4, 192, 64
#: What every word holds of the constant direction, of its meaning, of its language, and of its position.
CONSTANT, MEANING, LANGUAGE, POSITION = 3.0, 1.0, 1.0, 0.5
#: Positions that are told apart; then they repeat.
PERIOD = 4
#: Length of the state of a word, and what LayerNorm makes of 1.
LENGTH = float(np.sqrt(CONSTANT**2 + MEANING**2 + LANGUAGE**2 + POSITION**2))
NORMED = float(np.sqrt(WIDTH)) / LENGTH
#: Share of a word's meaning that is its concept; the rest tells the words of a concept apart.
CONCEPT = 0.9
#: What all experts of a concept write into a direction of the head. Small, so that lengths hardly change.
WRITTEN = 0.2
#: Noise that the attention of a block adds to each direction of language and of noise: standard deviation.
MIXED = 0.03
#: What a unit asks for beyond a language: the concept, but for this much.
SHORT_OF_CONCEPT = 0.25
#: Score by which attention prefers what it looks for.
LOOKS = 12.0
#: Logit of tokens that are no words, and spread of the weights of step 0.
NEVER, SPREAD = -30.0, 0.5
#: Row of the first position in OPT's table.
_FIRST_POSITION = 2
#: Share of new noise at each step.
DRIFT = 0.3


class PlantedWeights:
    """The weights of the checkpoints of one series.

    Args:
        series: What is planted.
        seed: Of the directions, the noise, and where units lie.
    """

    def __init__(self, series: Series, seed: int) -> None:
        self.series, self.seed = series, seed

    @cached_property
    def directions(self) -> dict[str, Floats]:
        """Orthonormal directions ``(d,)`` by name, all free of a mean, which LayerNorm takes away."""
        names = ["constant", "start", "opens", "missed"]
        names += [f"word {n}" for n in range(OTHERS)] + ["form 0", "form 1"]
        names += [f"concept {c}" for c in MISSED] + [f"language {lang}" for lang in LANGUAGES]
        names += [f"write {c}" for c in MISSED] + [f"write {lang}" for lang in LANGUAGES]
        names += [f"position {n}" for n in range(PERIOD)]
        names += [f"noise {n}" for n in range(WIDTH - 1 - len(names))]
        drawn = self._rng("directions").normal(size=(WIDTH, WIDTH))
        drawn[:, 0] = 1.0
        turned = np.linalg.qr(drawn)[0].T
        return dict(zip(names, turned[1:], strict=True))

    @property
    def _noise(self) -> Floats:
        return np.stack([each for name, each in self.directions.items() if name.startswith("noise")])

    def _rng(self, *what: object) -> np.random.Generator:
        return np.random.default_rng([self.seed, *b"/".join(str(part).encode() for part in what)])

    def state_dict(self, step: int) -> dict[str, Floats]:
        """All weights of a step by their names in OPT."""
        found = {
            "model.decoder.embed_tokens.weight": self._embeddings(),
            "model.decoder.embed_positions.weight": self._positions(step),
            "lm_head.weight": self._head(),
        }
        for layer in range(1, LAYERS + 1):
            for name, weights in {**self._attention(step, layer), **self._mlp(step, layer)}.items():
                found[f"model.decoder.layers.{layer - 1}.{name}"] = weights
        if step:
            return found
        rng = self._rng("step 0")
        return {
            name: rng.normal(size=weights.shape) * SPREAD / np.sqrt(weights.shape[-1]) * (weights.ndim > 1)
            for name, weights in found.items()
        }

    def experts(self, step: int, concept: str, lang: str) -> list[tuple[int, int]]:
        """Layer and number of the MLP units that know a concept in a language, shared ones among them."""
        return [
            (layer, self._unit(layer, concept, slot, LANGUAGES[0] if shared else lang))
            for layer in range(1, LAYERS + 1)
            for slot in range(PER_LAYER)
            for shared in [slot < self.series.n_shared(step, concept, layer)]
        ]

    def _unit(self, layer: int, concept: str, slot: int, lang: str) -> int:
        """Number of the unit for a concept and a language; that of the first language may be shared."""
        at = list(MISSED).index(concept) * PER_LAYER + slot
        return int(self._order(layer)[at * len(LANGUAGES) + LANGUAGES.index(lang)])

    def _order(self, layer: int) -> NDArray[np.int64]:
        return self._rng("order", layer).permutation(UNITS)

    # ------------------------------------------------------------------------ words, in and out

    def _embeddings(self) -> Floats:
        """What goes in, ``(V, d)``; those of the start and of words have one length."""
        at = self.directions
        found = {token: CONSTANT * at["constant"] for token in SPECIAL}
        found[START] = found[START] + np.hypot(MEANING, LANGUAGE) * at["start"]
        for lang in LANGUAGES:
            words = words_of(lang)
            meanings = {words.opens: at["opens"]}
            meanings |= {word: at[f"word {n}"] for n, word in enumerate(words.others)}
            for concept, (*known, missed) in words.concepts.items():
                meanings[missed] = at["missed"]
                for n, word in enumerate(known):
                    rest = np.sqrt(1 - CONCEPT**2) * at[f"form {n}"]
                    meanings[word] = CONCEPT * at[f"concept {concept}"] + rest
            own = CONSTANT * at["constant"] + LANGUAGE * at[f"language {lang}"]
            found |= {word: own + MEANING * meaning for word, meaning in meanings.items()}
        return np.stack([found[token] for token in vocabulary()])

    def _head(self) -> Floats:
        """What reads out, ``(V, d)``, of the state after the last LayerNorm."""
        at = self.directions

        def logit(value: float) -> Floats:
            return value / CONSTANT * at["constant"]

        found = {token: logit(NEVER) for token in SPECIAL}
        opens_now = (OPENING_AT_START - OPENING) / np.hypot(MEANING, LANGUAGE) * at["start"]
        for lang in LANGUAGES:
            words, own = words_of(lang), LANGUAGE_LOGIT / WRITTEN * at[f"write {lang}"]
            found[words.opens] = logit(OPENING) + opens_now + own
            found |= dict.fromkeys(words.others, own)
            for concept, forms in words.concepts.items():
                of_concept = CONCEPT_LOGIT / WRITTEN * at[f"write {concept}"]
                found |= dict.fromkeys(forms, logit(RARE) + of_concept + own)
        return np.stack([found[token] for token in vocabulary()]) / NORMED

    def _positions(self, step: int) -> Floats:
        """Positions ``(P, d)``; those that no text reaches stay as they were drawn."""
        found = self._drifting("positions", step, (POSITIONS + _FIRST_POSITION, WIDTH)) * SPREAD
        reached = np.arange(POSITIONS // 2)
        codes = np.stack([POSITION * self.directions[f"position {n}"] for n in range(PERIOD)])
        found[_FIRST_POSITION + reached] = codes[reached % PERIOD]
        return found

    # ------------------------------------------------------------------------ blocks

    def _attention(self, step: int, layer: int) -> dict[str, Floats]:
        """Maps ``(d, d)`` and biases ``(d,)`` of a block's attention."""
        found: dict[str, Floats]
        found = {f"self_attn.{name}_proj.bias": np.zeros(WIDTH) for name in ("q", "k", "v", "out")}
        found |= {f"self_attn.{name}_proj.weight": np.zeros((WIDTH, WIDTH)) for name in ("q", "k", "v")}
        found["self_attn.out_proj.weight"] = np.eye(WIDTH)
        at, size = self.directions, WIDTH // HEADS
        firsts = np.arange(0, WIDTH, size)
        if layer != FADED_LAYERS[-1] + 1:
            # In every head dimension n asks for the position before n.
            for n in range(PERIOD):
                asks, gives = at[f"position {n}"], at[f"position {(n - 1) % PERIOD}"]
                found["self_attn.q_proj.weight"][firsts + n] = np.sqrt(size) * asks / POSITION / NORMED
                found["self_attn.k_proj.weight"][firsts + n] = LOOKS * gives / POSITION / NORMED
            found["self_attn.v_proj.weight"] = self._mixing(step, layer)
            return found
        # In every head the first dimension asks for the word that opens the sentence.
        found["self_attn.q_proj.bias"][firsts] = np.sqrt(size)
        found["self_attn.k_proj.weight"][firsts] = LOOKS * at["opens"] / NORMED
        restored = LANGUAGE * (step in self.series.faded)
        for lang in LANGUAGES:
            own, copied = at[f"language {lang}"] / NORMED, restored * at[f"language {lang}"]
            found["self_attn.v_proj.weight"] += np.outer(copied + WRITTEN * at[f"write {lang}"], own)
        return found

    def _mixing(self, step: int, layer: int) -> Floats:
        """A map from words that mean no concept to noise, of mean zero over words."""
        languages = [self.directions[f"language {lang}"] for lang in LANGUAGES]
        into = np.concatenate([self._noise, languages])
        drawn = self._drifting(f"mixing {layer}", step, (OTHERS, len(into)))
        words = np.stack([self.directions[f"word {n}"] for n in range(OTHERS)])
        return np.asarray(MIXED * ((drawn - drawn.mean(axis=0)) @ into).T @ words / NORMED)

    def _mlp(self, step: int, layer: int) -> dict[str, Floats]:
        """Maps ``(U, d)``, ``(d, U)`` and biases of a block's MLP."""
        reads, biases, writes = self._idle(step, layer)
        at, opens = self.directions, self.directions["opens"]
        order = self._order(layer)
        per_unit = WRITTEN / EXPERTS / self._fired(step, layer)
        for c, concept in enumerate(MISSED):
            n_shared = self.series.n_shared(step, concept, layer)
            for slot in range(PER_LAYER):
                for number, lang in enumerate(LANGUAGES):
                    unit = order[(c * PER_LAYER + slot) * len(LANGUAGES) + number]
                    is_shared = slot < n_shared
                    if is_shared and number:  # what the shared unit does now needs no other
                        continue
                    of_language = 0 if is_shared else at[f"language {lang}"] - 2 * opens
                    reads[unit] = at[f"concept {concept}"] + of_language
                    biases[unit] = -SHORT_OF_CONCEPT if is_shared else -SHORT_OF_CONCEPT - LANGUAGE
                    strength, written = (PIVOT_STRENGTH, PIVOT) if is_shared else (1.0, lang)
                    both = at[f"write {concept}"] + strength * at[f"write {written}"]
                    writes[unit] = per_unit * both
        if step in self.series.faded and layer == FADED_LAYERS[0]:
            for number, lang in enumerate(LANGUAGES):
                unit, own = order[UNITS - 1 - number], at[f"language {lang}"]
                # Fires from half a language on: noise alone does not reach that.
                reads[unit], biases[unit], writes[unit] = 2 * own - 4 * opens, -1.0, -LANGUAGE * own
        return {
            "fc1.weight": reads / NORMED,
            "fc1.bias": biases,
            "fc2.weight": writes.T,
            "fc2.bias": np.zeros(WIDTH),
        }

    def _fired(self, step: int, layer: int) -> float:
        """Value of a unit on a word of its concept; both kinds have the same.

        Without its language a state is shorter, and LayerNorm makes more of the concept.
        """
        faded = step in self.series.faded and layer in FADED_LAYERS[1:]
        stretched = LENGTH / np.sqrt(LENGTH**2 - LANGUAGE**2) if faded else 1.0
        return float(stretched * CONCEPT - SHORT_OF_CONCEPT)

    def _idle(self, step: int, layer: int) -> tuple[Floats, Floats, Floats]:
        """Reads ``(U, d)``, biases ``(U,)`` and writes ``(U, d)`` of units without a task."""
        shape = UNITS, len(self._noise)
        reads = self._drifting(f"reads {layer}", step, shape) @ self._noise
        writes = self._drifting(f"writes {layer}", step, shape) @ self._noise
        return reads / np.sqrt(shape[1]), np.zeros(UNITS), 0.01 * writes

    def _drifting(self, name: str, step: int, shape: tuple[int, int]) -> Floats:
        """Noise that is mostly the same at all steps."""
        stays, new = self._rng(name).normal(size=shape), self._rng(name, step).normal(size=shape)
        return np.asarray(np.sqrt(1 - DRIFT**2) * stays + DRIFT * new)


def model_config() -> dict[str, Any]:
    """The config of the checkpoints, as OPT's ``config.json`` has it."""
    tokens = vocabulary()
    return {
        "vocab_size": len(tokens),
        "hidden_size": WIDTH,
        "word_embed_proj_dim": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "ffn_dim": UNITS,
        "max_position_embeddings": POSITIONS,
        "activation_function": "relu",
        "do_layer_norm_before": True,
        "dropout": 0.0,
        "tie_word_embeddings": False,
        "bos_token_id": tokens.index(START),
        "eos_token_id": tokens.index(END),
        "pad_token_id": SPECIAL.index("<pad>"),
    }
