"""The mini study with a series of checkpoints in place of its pre-training: local folders, a hub, an encoder."""

import json
from pathlib import Path

from hub_server import HubServer
from mini_study import MiniStudy

MODEL_FILES = ("config.json", "model.safetensors")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def series(finished: MiniStudy, folder: Path, name: str, model: dict[str, object]) -> MiniStudy:
    """The mini study's config with a series of checkpoints in place of the pre-training; not run yet."""
    study = MiniStudy(folder, json.loads(json.dumps(finished.config)))
    (folder / "data").mkdir()
    for part in (finished.folder / "data").iterdir():
        (folder / "data" / part.name).symlink_to(part)
    study.config |= {"study": name, "models": {"theirs": model}}
    for key in ("corpora", "tokenizers"):
        del study.config[key]
    return study


def checkpoint_files(study: MiniStudy, step: int, names: tuple[str, ...]) -> dict[str, bytes]:
    """Files of a checkpoint that the mini study trained."""
    folder = study.results / f"models/tiny-seed0/{step}"
    return {name: (folder / name).read_bytes() for name in names}


def local_study(finished: MiniStudy, folder: Path) -> MiniStudy:
    """A study of folders that somebody else trained; here, the ones of the mini study."""
    model = {"source": "local", "path": "{data}/run/checkpoint-{step}", "steps": [0, 4]}
    study = series(finished, folder, "local", model)
    for step in (0, 4):
        checkpoint = folder / f"data/run/checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        for name, content in checkpoint_files(finished, step, MODEL_FILES + TOKENIZER_FILES).items():
            (checkpoint / name).write_bytes(content)
    return study


def hub_of(finished: MiniStudy, server: HubServer) -> None:
    """Put on a hub the mini study's checkpoints, its step 4 a second time as step 8, the tokenizer elsewhere."""
    revisions = {f"step{step:04d}": checkpoint_files(finished, step, MODEL_FILES) for step in (0, 4)}
    revisions["step0008"] = checkpoint_files(finished, 4, MODEL_FILES)
    server.add_repo("lab/tiny", revisions={"main": {}, **revisions})
    tokenizer = checkpoint_files(finished, 4, TOKENIZER_FILES)
    server.add_repo("lab/tiny-tokenizer", revisions={"main": tokenizer})


def hub_study(finished: MiniStudy, folder: Path) -> MiniStudy:
    """A study of that series; not run yet."""
    model = {
        "source": "hub",
        "repo": "lab/tiny",
        "revision": "step{step:04d}",
        "tokenizer_repo": "lab/tiny-tokenizer",
        "architecture": "xglm",
        "architecture_config": {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32},
        "tokens_per_step": 192,
        "steps": [0, 4],
    }
    return series(finished, folder, "hub", model)
