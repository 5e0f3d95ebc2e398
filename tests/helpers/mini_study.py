"""A study small enough for the real engine: text that is made here, two layers, a few steps."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]

#: Made-up languages: word for word, with a marker; enough for a tokenizer and labels by words.
WORDS = {
    "en": "the dog house water river tree barks stands flows near under on old big cold".split(),
    "de": "das Hund Haus Wasser Fluss Baum bellt steht fliesst nahe unter auf alt gross kalt".split(),
    "ru": "это собака дом вода река дерево лает стоит течет около под на старый большой холодный".split(),
    "tr": "bu köpek ev su nehir ağaç havlar durur akar yakın altında üstünde eski büyük soğuk".split(),
}
NOUNS = [1, 2, 3, 4, 5]


def sentence(lang: str, number: int) -> str:
    """Sentence ``number``, the same meaning in every language; the number keeps them apart."""
    words = WORDS[lang]
    noun, verb = NOUNS[number % 5], 6 + number % 3
    other, place = NOUNS[(number // 5) % 5], 9 + number % 3
    adjective = 12 + (number // 3) % 3
    order = [0, adjective, noun, verb, place, 0, other]
    if lang == "tr":
        order = [0, adjective, noun, other, place, verb]
    return " ".join(words[i] for i in order) + f" {number} ."


@dataclass
class MiniStudy:
    """A working directory with text, a config and the repository's workflow."""

    folder: Path
    config: dict[str, Any]

    def write(self) -> Path:
        path = self.folder / "study.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))
        return path

    def snakemake(
        self,
        *args: str,
        check: bool = True,
        timeout: int = 2400,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the real engine on this study."""
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(self.folder), "--configfile", str(self.write()),
            "--workflow-profile", "none", "--cores", "2", "--show-failed-logs", *args,
        ]  # fmt: skip
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})},
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        return done

    def planned(self, *args: str) -> Counter[str]:
        """Jobs per stage that a run would do now."""
        return jobs_of(self.dry_run(*args, "--quiet", "host", "reason"))

    def dry_run(self, *args: str) -> str:
        """All that a plan says."""
        done = self.snakemake(*args, "--dry-run")
        return done.stdout + done.stderr

    def babelscope(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a subcommand on this study, in its folder, which then looks like a checkout."""
        self.write()
        for name in ("Snakefile", "workflow"):
            if not (self.folder / name).exists():
                (self.folder / name).symlink_to(ROOT / name)
        return subprocess.run(
            [sys.executable, "-m", "babelscope.cli", *args, "--configfile", "study.yaml"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            check=False,
        )

    def copy(self, folder: Path) -> "MiniStudy":
        """The same study in another folder, file times kept."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, copy_function=shutil.copy2)
        shutil.rmtree(folder / ".snakemake" / "locks", ignore_errors=True)
        return MiniStudy(folder, json.loads(json.dumps(self.config)))

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.config["study"]


def jobs_of(text: str) -> Counter[str]:
    """Jobs per stage that a dry run tells of."""
    if "Nothing to be done" in text:
        return Counter()
    table = text.split("Job stats:")[1].split("total")[0]
    return Counter({rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table, re.M)})


def break_weights(study: MiniStudy, step: int) -> None:
    """Put NaN into one matrix of a checkpoint."""
    weights = study.results / f"models/tiny-seed0/{step}/model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "fc1.weight" in name)
    tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, weights, metadata={"format": "pt"})


def write_text(folder: Path, langs: list[str]) -> None:
    for name, numbers in {"train": range(1000, 1600), "parallel": range(120)}.items():
        target = folder / "data" / name
        target.mkdir(parents=True, exist_ok=True)
        for lang in langs:
            lines = [sentence(lang, number) for number in numbers]
            (target / f"{lang}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lists = {
        "dog": ["dog"], "house": ["house"], "water": ["water"], "river": ["river"],
    }  # fmt: skip
    (folder / "data" / "words.yaml").write_text(yaml.safe_dump(lists))


def mini_config() -> dict[str, Any]:
    return {
        "study": "mini",
        "seed": 3,
        "data": "data",
        "languages": ["en", "de", "ru"],
        "corpora": {
            "text": {
                "source": "text",
                "path": "{data}/train/{lang}.txt",
                "languages": ["en", "de", "ru"],
            }
        },
        "tokenizers": {"pieces": {"corpus": "text", "vocabulary_size": 400}},
        "models": {
            "tiny": {
                "source": "pretrain",
                "corpus": "text",
                "tokenizer": "pieces",
                "architecture": "xglm",
                "architecture_config": {
                    "d_model": 16,
                    "num_layers": 2,
                    "attention_heads": 2,
                    "ffn_dim": 32,
                },
                "training": {
                    "sequence_length": 24,
                    "batch_size": 8,
                    "learning_rate": 0.01,
                    "warmup_steps": 2,
                    "schedule": "constant",
                },
                "seeds": [0],
                "steps": [0, 4],
            }
        },
        "sentences": {"source": "parallel", "path": "{data}/parallel/{lang}.txt"},
        "concepts": {
            "source": "words",
            "label_language": "en",
            "lists": "data/words.yaml",
            "ids": ["dog", "house", "water"],
            "min_positive": 10,
        },
        "extraction": {
            "sites": ["mlp_act", "mlp_out"],
            "max_length": 32,
            "batch_size": 16,
            "tokens_per_language": 120,
            "mean_sentences": 40,
        },
        "probes": {"tokens_per_language": 100, "components": 4, "seeds": 1, "bootstrap": 50},
        "experts": {"k": 6, "kept": 40, "min_languages": 2, "bootstrap": 50, "permutations": 50},
        "generation": {
            "k": 4,
            "steps": [4],
            "languages": ["en", "de"],
            "samples": 2,
            "max_new_tokens": 6,
        },
        "report": {"title": "mini", "figure_formats": ["svg"]},
        "keep_activations": True,
        "keep_scores": True,
    }
