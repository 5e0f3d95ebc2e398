"""Write the planted checkpoints and their text where a study of local folders and parallel files looks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from babelscope.models.checkpoints import save_model
from babelscope.planted.text import END, PADDING, START, UNKNOWN, parallel_lines, vocabulary, words_of
from babelscope.planted.truth import ALL_SERIES, LANGUAGES, MISSED
from babelscope.planted.weights import PlantedWeights, model_config
from babelscope.text.lines import text_file

logger = logging.getLogger(__name__)


def build(folder: Path, *, seed: int = 0) -> None:
    """Write all that ``config/studies/planted.yaml`` reads.

    ``{series}/{step}/`` are checkpoints in Hugging Face format, ``text/{lang}.txt`` the parallel lines,
    ``words.yaml`` the words of each concept by language. The same seed gives the same files.

    Args:
        folder: Where to; what is there is replaced.
        seed: Of the weights and the lines.
    """
    from transformers import OPTConfig

    for lang, lines in parallel_lines(seed).items():
        path = folder / "text" / f"{lang}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with text_file(path) as file:
            file.writelines(f"{line}\n" for line in lines)
    words = {c: {lang: list(words_of(lang).concepts[c]) for lang in LANGUAGES} for c in MISSED}
    with text_file(folder / "words.yaml") as file:
        yaml.safe_dump(words, file, allow_unicode=True, sort_keys=False)
    config, tokenizer = OPTConfig(**model_config()), word_tokenizer()
    for series in ALL_SERIES:
        planted = PlantedWeights(series, seed)
        for step in series.steps:
            save_model(_model(config, planted, step), tokenizer, folder / series.name / str(step))
    logger.info("%s: %d series of checkpoints", folder, len(ALL_SERIES))


def word_tokenizer() -> Any:
    """A tokenizer of transformers whose tokens are the words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {token: number for number, token in enumerate(vocabulary())}
    words = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": START, "eos_token": END, "pad_token": PADDING, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)  # type: ignore[no-untyped-call]


def _model(config: Any, planted: PlantedWeights, step: int) -> Any:
    """The checkpoint of a step; what is not planted, such as the factors of LayerNorm, is as OPT makes it."""
    import torch
    from transformers import OPTForCausalLM

    model = OPTForCausalLM(config)
    state = model.state_dict()
    for name, weights in planted.state_dict(step).items():
        state[name].copy_(torch.from_numpy(weights))
    return model
