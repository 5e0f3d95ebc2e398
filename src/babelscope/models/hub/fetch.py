"""Checkpoints from the Hugging Face hub: resolved to a commit, verified, resumable, published whole.

The files of a step are downloaded into a scratch folder beside it and checked against the hashes that the
hub names; only then does the folder come under its name, with these files and no others. A download that was
cut off, or whose process was killed, goes on where it stopped; that of another repository, commit or folder
begins anew. Weights that another step of the model holds already, or the cache of Hugging Face's own
libraries, are linked, not downloaded again: the hub says their hashes beforehand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from babelscope.errors import DataError, ModelError, StudyError
from babelscope.io.files import (
    file_sha256,
    is_own_file,
    open_to_append,
    remove,
    written_whole,
)
from babelscope.models.dimensions import dimensions
from babelscope.models.files import (
    BIN,
    SAFETENSORS,
    Manifest,
    combined_hash,
    is_of_tokenizer,
    is_vocabulary,
    read_manifest,
    write_manifest,
)
from babelscope.models.hub.client import WAITS, Hub, HubError, HubPlace, RemoteFile, few
from babelscope.models.tensors import check_beside

logger = logging.getLogger(__name__)

#: Room that is left on the disk beside what is still to be downloaded. Bytes.
DISK_MARGIN = 2**30
_LOCK, _CLAIM = ".lock", ".claim.json"


def fetch_checkpoint(
    weights: HubPlace,
    tokenizer: HubPlace,
    folder: Path,
    *,
    scratch: Path,
    sizes: Mapping[str, Any] | None = None,
    siblings: Sequence[Path] = (),
    waits: Sequence[float] = WAITS,
) -> Manifest:
    """Bring a checkpoint with its tokenizer into a folder, whole and verified, or not at all.

    Args:
        weights: Where the model lies.
        tokenizer: Where its tokenizer lies.
        folder: Hugging Face folder to make.
        scratch: Folder on the same disk for what is unfinished; it stays if this fails.
        sizes: What the study believes: a config as :func:`babelscope.models.dimensions.dimensions` takes
            it, compared with the real one before the weights are downloaded.
        siblings: Folders of other steps, whose weights may be the same.
        waits: Seconds before each further attempt after errors that may pass.

    Returns:
        The manifest, also written as ``fetched.json``.

    Raises:
        HubError: If something is not there, not given, not right, or does not fit on the disk.
        ModelError: If a link lies where something would be written.
        StudyError: If ``sizes`` differ from the model's.
    """
    if scratch.is_symlink():
        raise ModelError(scratch, f"is a link to {os.readlink(scratch)}, so nothing is downloaded into it")
    scratch.mkdir(parents=True, exist_ok=True)
    with _alone(scratch):
        hub = Hub(waits)
        commit, files = hub.list_files(weights)
        tokenizer_commit, words = (commit, files) if tokenizer == weights else hub.list_files(tokenizer)
        _claim(
            scratch,
            [
                dataclasses.replace(weights, revision=commit),
                dataclasses.replace(tokenizer, revision=tokenizer_commit),
            ],
        )
        config = hub.config(weights, files, scratch)
        if sizes is not None:
            _compare_sizes(weights, config, sizes)
        try:
            check_beside(scratch, config)
        except DataError as error:
            raise HubError(weights, error.problem, error.hint) from error
        small, large = _model_files(hub, weights, files, scratch)
        small += _tokenizer_files(tokenizer, words, taken={file.name for file in [*small, *large]})
        _check_space(small, scratch)
        for file in small:
            hub.download(file, scratch)
        twin = _link_weights(large, siblings, scratch)
        if twin is None:
            missing = [file for file in large if not _from_cache(file, scratch)]
            _check_space(missing, scratch)
            for file in missing:
                hub.download(file, scratch)
        hashes = {file.name: file.sha256 or file_sha256(scratch / file.name) for file in [*small, *large]}
        manifest = Manifest(
            repo=weights.repo,
            revision=weights.revision,
            subfolder=weights.subfolder,
            commit=commit,
            tokenizer_repo=tokenizer.repo,
            tokenizer_revision=tokenizer.revision,
            tokenizer_commit=tokenizer_commit,
            weights_sha256=combined_hash(hashes[file.name] for file in large),
            linked_from="" if twin is None else str(twin),
            files=tuple(
                {"name": file.name, "bytes": file.n_bytes, "sha256": hashes[file.name]}
                for file in [*small, *large]
            ),
        )
        _publish(manifest, scratch, folder)
    return manifest


def _model_files(
    hub: Hub, place: HubPlace, files: Sequence[RemoteFile], scratch: Path
) -> tuple[list[RemoteFile], list[RemoteFile]]:
    """Configs and the index, if there is one; and the weights."""
    index, weights = hub.weights(place, files, scratch)
    if not weights:
        there = few(sorted(file.name for file in files))
        problem = f"has no weights in Hugging Face format ({SAFETENSORS} or {BIN}, or their shards)"
        raise HubError(place, f"{problem}; there are {there}", "convert them, and use source local")
    configs = [file for file in files if file.name in ("config.json", "generation_config.json")]
    return configs + index, weights


def _tokenizer_files(place: HubPlace, files: Sequence[RemoteFile], taken: set[str]) -> list[RemoteFile]:
    chosen = [file for file in files if is_of_tokenizer(file.name) and file.name not in taken]
    if not any(is_vocabulary(file.name) for file in chosen):
        hint = "name another place with tokenizer_repo and tokenizer_revision"
        there = few(sorted(file.name for file in files))
        raise HubError(place, f"has no tokenizer; there are {there}", hint)
    return chosen


def _compare_sizes(place: HubPlace, config: Mapping[str, Any], believed: Mapping[str, Any]) -> None:
    if config.get("model_type") != believed.get("model_type"):
        allowed = f"{config.get('model_type')}, as config.json of {place} says"
        raise StudyError("architecture", believed.get("model_type"), allowed)
    found, expected = dimensions(config), dimensions(believed)
    differing = [
        f"{name}: the study says {getattr(expected, name)}, the model has {getattr(found, name)}"
        for name in ("n_layers", "hidden", "mlp", "query", "key", "experts", "chosen")
        if getattr(found, name) != getattr(expected, name)
    ]
    if differing:
        hint = "take the sizes from its config.json; `babelscope hub REPO` prints them"
        raise StudyError("architecture_config", dict(believed), "; ".join(differing), hint)


def _link_weights(files: Sequence[RemoteFile], siblings: Sequence[Path], scratch: Path) -> Path | None:
    """Link the weights from the first sibling that holds all of them, if there is one."""
    for folder in siblings:
        held = _held(folder)
        if all(file.sha256 in held for file in files) and all(
            _linked(held[str(file.sha256)], file, scratch) for file in files
        ):
            logger.warning("%s has the weights of %s: linked, not downloaded", files[0].commit, folder)
            return folder
    return None


def _from_cache(file: RemoteFile, scratch: Path) -> bool:
    """Link a file of weights from the cache of Hugging Face's own libraries, if it holds it.

    On another disk it is copied, since links that lead out of the results would not go with them.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if file.sha256 is None:
        return False
    folder = repo_folder_name(repo_id=file.repo, repo_type="model")
    blob = Path(constants.HF_HUB_CACHE, folder, "blobs", file.sha256)
    if not is_own_file(blob):
        return False
    if blob.stat().st_dev != scratch.stat().st_dev:
        _check_space([file], scratch)
    if not _linked(blob, file, scratch, claim="its name"):
        return False
    logger.info("%s: taken from %s, not downloaded", file.path, blob)
    return True


def _held(folder: Path) -> dict[str, Path]:
    """Files of a folder by the hashes that its manifest claims; none if it is broken."""
    try:
        entries = read_manifest(folder).files
    except DataError as error:
        logger.warning("%s; its weights are not taken", error)
        return {}
    return {str(entry["sha256"]): folder / str(entry["name"]) for entry in entries}


def _linked(
    source: Path, file: RemoteFile, scratch: Path, *, claim: str = "its folder's fetched.json"
) -> bool:
    """Link a file into the scratch folder, if it is what is claimed of it."""
    target = scratch / file.name
    if not is_own_file(source) or source.stat().st_size != file.n_bytes:
        return False
    remove(target)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # file systems without links
        shutil.copyfile(source, target, follow_symlinks=False)
    if is_own_file(target) and file_sha256(target) == file.sha256:
        return True
    remove(target)
    logger.warning("%s is not what %s says; it is not taken", source, claim)
    return False


def _claim(scratch: Path, places: Sequence[HubPlace]) -> None:
    """Note what is downloaded into the folder; first empty it, if that was something else."""
    claim = json.dumps([dataclasses.asdict(place) for place in places], indent=1)
    note = scratch / _CLAIM
    if is_own_file(note) and note.read_bytes() == claim.encode():
        return
    for other in scratch.iterdir():
        if other.name != _LOCK:
            remove(other)
    with written_whole(note) as unfinished:
        unfinished.write_text(claim, encoding="utf-8")


def _check_space(files: Sequence[RemoteFile], folder: Path) -> None:
    missing = 0
    for file in files:
        part = folder / f"{file.name}.part"
        if not is_own_file(folder / file.name):
            missing += file.n_bytes - (part.stat().st_size if is_own_file(part) else 0)
    free = shutil.disk_usage(folder).free
    if missing and missing + DISK_MARGIN > free:
        problem = f"{missing / 1e9:.1f} GB are still to be downloaded, {free / 1e9:.1f} GB are free"
        room = f"make room ({DISK_MARGIN / 1e9:.0f} GB are kept free)"
        raise HubError(folder, problem, f"{room}, or run in a folder on another disk")


@contextlib.contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """Refuse a second run on the same folder. Where locks are not supported, say so and go on."""
    with open_to_append(scratch / _LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HubError(scratch, "another run downloads into this folder", "wait for it") from error
        except OSError as error:
            logger.warning("%s: this file system has no locks (%s); do not run this twice", scratch, error)
        yield


def _publish(manifest: Manifest, scratch: Path, folder: Path) -> None:
    names = {str(entry["name"]) for entry in manifest.files}
    for other in scratch.iterdir():
        if other.name not in names:
            remove(other)
    write_manifest(scratch, manifest)
    remove(folder)
    os.replace(scratch, folder)
