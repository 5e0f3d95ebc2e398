"""The last checkpoint of a planted series in memory, and its experts as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from transformers import OPTConfig, OPTForCausalLM

from babelscope.models.checkpoints import LoadedModel
from babelscope.planted.build import word_tokenizer
from babelscope.planted.text import SPECIAL, START, vocabulary
from babelscope.planted.weights import PlantedWeights, model_config


def loaded_of(series) -> LoadedModel:
    """The last checkpoint of a planted series."""
    model = OPTForCausalLM(OPTConfig(**model_config())).eval()
    weights = PlantedWeights(series, 0).state_dict(series.steps[-1])
    model.load_state_dict({name: torch.from_numpy(w).float() for name, w in weights.items()}, strict=False)
    start, pad = vocabulary().index(START), SPECIAL.index("<pad>")
    return LoadedModel(model, word_tokenizer(), start, pad, Path(series.name), "", "")


def experts_of(series, lang: str, concepts: Sequence[str]) -> pd.DataFrame:
    """The planted experts of a language, as :func:`babelscope.analysis.experts.select_experts` has them."""
    planted, rows = PlantedWeights(series, 0), []
    for concept in concepts:
        found = planted.experts(series.steps[-1], concept, lang)
        rows += [
            ("model", "a", concept, rank, layer, "mlp_act", unit, len(found))
            for rank, (layer, unit) in enumerate(found)
        ]
    return pd.DataFrame(rows, columns=["scope", "subset", "concept", "rank", "layer", "site", "unit", "k"])
