"""Checkpoints from the Hugging Face hub: resolved to a commit, verified, resumable, published whole.

The files of a step are downloaded into a scratch folder beside it and checked against the hashes that the
hub names; only then does the folder come under its name. A download that was cut off, or whose process was
killed, goes on where it stopped. Weights that another step of the model holds already are linked, not
downloaded again: the hub says their hashes beforehand.

Downloads go through :func:`huggingface_hub.file_download.http_get`, which resumes, and not through
``hf_hub_download``, whose partial files belong to one process and are removed when it ends. Xet, the
hub's other protocol, is not used: it has no byte ranges to go on from, and no hash of the file to check.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import fcntl
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from babelscope.errors import BabelscopeError, StudyError
from babelscope.models.architectures import dimensions

logger = logging.getLogger(__name__)

MANIFEST = "fetched.json"
_CLAIM = ".weights-hash"

#: Room that is left on the disk beside what is still to be downloaded. Bytes.
DISK_MARGIN = 2**30

#: Seconds to wait before each further attempt, after errors that may pass.
WAITS = (2.0, 5.0, 15.0, 60.0, 180.0)

_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_LISTED = 12


class HubError(BabelscopeError):
    """The hub does not have what the study names, does not give it, or cannot be reached."""

    def __init__(self, what: str, problem: str, hint: str = "") -> None:
        self.what, self.problem, self.hint = what, problem, hint
        super().__init__(f"{what}: {problem}" + (f"\nhint: {hint}" if hint else ""))


@dataclass(frozen=True)
class Place:
    """Where a checkpoint or a tokenizer lies on the hub."""

    repo: str
    revision: str
    """Tag, branch or commit."""
    subfolder: str = ""

    def __str__(self) -> str:
        inside = f", folder {self.subfolder}" if self.subfolder else ""
        return f"{self.repo} at {self.revision}{inside}"


@dataclass(frozen=True)
class RemoteFile:
    """A file of the hub at one commit.

    Attributes:
        path: In the repository.
        name: In our folder.
        n_bytes: Its size.
        sha256: Of large files; None if git holds the file itself.
        blob: Git's hash of its content, for those.
    """

    path: str
    name: str
    n_bytes: int
    sha256: str | None
    blob: str
    repo: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Manifest:
    """What was fetched; ``fetched.json`` in the folder."""

    repo: str
    revision: str
    subfolder: str
    commit: str
    tokenizer_repo: str
    tokenizer_revision: str
    tokenizer_commit: str
    weights_sha256: str
    """Hash over those of the weight files: equal weights have equal ones, whatever their names."""
    linked_from: str = ""
    """Folder whose weights these are too; empty if they were downloaded."""
    files: tuple[Mapping[str, Any], ...] = field(default=())
    """Per file ``name``, ``bytes``, ``sha256``."""


def read_manifest(folder: Path | str) -> Manifest | None:
    """What is known of a fetched folder; None if it was not fetched."""
    try:
        content = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
        return Manifest(**{**content, "files": tuple(content["files"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HubError(str(Path(folder) / MANIFEST), f"is damaged: {error}", "remove the folder") from error


def fetch_checkpoint(
    weights: Place,
    tokenizer: Place,
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
        sizes: What the study believes: a config as :func:`babelscope.models.architectures.dimensions` takes
            it, compared with the real one before the weights are downloaded.
        siblings: Folders of other steps, whose weights may be the same.
        waits: Seconds before each further attempt after errors that may pass.

    Returns:
        The manifest, also written as ``fetched.json``.

    Raises:
        HubError: If something is not there, not given, not right, or does not fit on the disk.
        StudyError: If ``sizes`` differ from the model's.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with _alone(scratch):
        hub = Hub(waits)
        commit, files = hub.list_files(weights)
        tokenizer_commit, tokenizer_files = (
            (commit, files) if tokenizer == weights else hub.list_files(tokenizer)
        )
        chosen = _model_files(weights, files)
        chosen_weights = [file for file in chosen if file.sha256 is not None or _is_weights(file.name)]
        words = _tokenizer_files(tokenizer, tokenizer_files, taken={file.name for file in chosen})
        small = [file for file in chosen if file not in chosen_weights] + words
        for file in small:
            hub.download(file, scratch)
        if sizes is not None:
            _compare_sizes(weights, scratch / "config.json", sizes)
        weights_hash = weights_of(chosen_weights)
        (scratch / _CLAIM).write_text(weights_hash)
        twin = _same_weights(weights_hash, siblings)
        if twin is not None:
            logger.warning("%s has the weights of %s: linked, not downloaded", weights, twin)
            _link_weights(twin, chosen_weights, scratch)
        _check_space(chosen_weights, scratch)
        for file in chosen_weights:
            hub.download(file, scratch)
        manifest = Manifest(
            repo=weights.repo,
            revision=weights.revision,
            subfolder=weights.subfolder,
            commit=commit,
            tokenizer_repo=tokenizer.repo,
            tokenizer_revision=tokenizer.revision,
            tokenizer_commit=tokenizer_commit,
            weights_sha256=weights_hash,
            linked_from="" if twin is None else str(twin),
            files=tuple(
                {"name": file.name, "bytes": file.n_bytes, "sha256": _sha256(scratch / file.name, file)}
                for file in [*small, *chosen_weights]
            ),
        )
        _publish(manifest, scratch, folder)
    return manifest


# ------------------------------------------------------------------------------------- the hub


class Hub:
    """The real client, with errors in words and further attempts after those that may pass."""

    def __init__(self, waits: Sequence[float]) -> None:
        os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1")
        import huggingface_hub

        self.endpoint = os.environ.get("HF_ENDPOINT") or None
        self.api = huggingface_hub.HfApi(endpoint=self.endpoint)
        self.waits = waits

    def list_files(self, place: Place) -> tuple[str, list[RemoteFile]]:
        """The commit that a revision stands for, and the files of the place."""
        from huggingface_hub.errors import RevisionNotFoundError
        from huggingface_hub.hf_api import RepoFile

        try:
            commit = str(
                self._try(place, lambda: self.api.repo_info(place.repo, revision=place.revision).sha)
            )
        except RevisionNotFoundError as error:
            raise self._no_revision(place) from error
        entries = list(
            self._try(
                place, lambda: list(self.api.list_repo_tree(place.repo, recursive=True, revision=commit))
            )
        )
        prefix = f"{place.subfolder.strip('/')}/" if place.subfolder else ""
        files = [
            RemoteFile(
                path=entry.path,
                name=entry.path.removeprefix(prefix),
                n_bytes=entry.size,
                sha256=entry.lfs.sha256 if entry.lfs else None,
                blob=entry.blob_id,
                repo=place.repo,
                commit=commit,
            )
            for entry in entries
            if isinstance(entry, RepoFile) and entry.path.startswith(prefix)
        ]
        inside = [file for file in files if "/" not in file.name]
        if place.subfolder and not files:
            folders = sorted({str(Path(entry.path).parent) for entry in entries} - {"."})
            raise HubError(str(place), f"there is no such folder; there are {_few(folders)}")
        return commit, inside

    def revisions(self, repo: str) -> list[str]:
        """Names of all branches and tags."""
        refs = self._try(Place(repo, "main"), lambda: self.api.list_repo_refs(repo))
        return [str(ref.name) for ref in [*refs.branches, *refs.tags]]

    def licence(self, repo: str) -> str:
        """The licence that the repository's card names; empty if it names none."""
        info = self._try(Place(repo, "main"), lambda: self.api.repo_info(repo))
        tags = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
        return str(tags[0]) if tags else ""

    def read_json(self, files: Sequence[RemoteFile], name: str, place: Place) -> dict[str, Any]:
        """A small JSON file of a place."""
        found = next((file for file in files if file.name == name), None)
        if found is None:
            problem = f"has no {name}; there are {_few(sorted(file.name for file in files))}"
            raise HubError(str(place), problem)
        with tempfile.TemporaryDirectory() as folder:
            self.download(found, Path(folder))
            try:
                return dict(json.loads((Path(folder) / name).read_text(encoding="utf-8")))
            except ValueError as error:
                raise HubError(str(place), f"its {name} is no JSON: {error}") from error

    def _no_revision(self, place: Place) -> HubError:
        names = self.revisions(place.repo)
        near = _nearest_names(place.revision, names)
        hint = f"did you mean {', '.join(near)}?" if near else ""
        return HubError(str(place), f"there is no such revision; there are {_few(names)}", hint)

    def download(self, file: RemoteFile, folder: Path) -> None:
        """Bring a file, from where an earlier attempt stopped; a wrong hash is tried once more."""
        target = folder / file.name
        if target.exists():
            return
        for attempt in (1, 2):
            part = folder / f"{file.name}.part"
            self._try(Place(file.repo, file.commit), functools.partial(self._get, file, part))
            found = _digest(part, file)
            if found == (file.sha256 or file.blob):
                os.replace(part, target)
                return
            part.unlink()
            logger.warning("%s: %s has a wrong hash (attempt %d)", file.repo, file.path, attempt)
        raise HubError(
            f"{file.repo} at {file.commit}",
            f"{file.path} does not have the hash that the hub names: expected "
            f"{file.sha256 or file.blob}, found {found} twice",
            "something between the hub and here changes files; nothing of it was kept",
        )

    def _get(self, file: RemoteFile, part: Path) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils._headers import build_hf_headers

        done = part.stat().st_size if part.exists() else 0
        if done > file.n_bytes:  # of another file that had this name
            part.unlink()
            done = 0
        url = hf_hub_url(file.repo, file.path, revision=file.commit, endpoint=self.endpoint)
        logger.info("%s: %d of %d bytes are there", file.path, done, file.n_bytes)
        if file.n_bytes == 0:
            part.touch()
            return
        with part.open("ab") as content:
            http_get(
                url,
                content,
                resume_size=done,
                headers=build_hf_headers(),
                expected_size=file.n_bytes,
                _nb_retries=0,  # tried again by us, with growing waits
            )

    def _try(self, place: Place, action: Callable[[], Any]) -> Any:
        import httpx2
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        for wait in (*self.waits, None):
            try:
                return action()
            except OfflineModeIsEnabled as error:
                hint = (
                    "run the one rule that needs network where there is some, without HF_HUB_OFFLINE: "
                    "snakemake --until fetch_checkpoint"
                )
                raise HubError(
                    str(place), "HF_HUB_OFFLINE is set, so nothing can be fetched", hint
                ) from error
            except GatedRepoError as error:
                page = f"https://huggingface.co/{place.repo}"
                hint = f"accept its terms at {page}, then `hf auth login` or set HF_TOKEN"
                raise HubError(
                    str(place), "the repository is gated, and this account has no access", hint
                ) from error
            except RepositoryNotFoundError as error:
                hint = "if it is private: `hf auth login`, or set HF_TOKEN"
                raise HubError(str(place), "there is no such repository, or it is private", hint) from error
            except RevisionNotFoundError:
                raise
            except HFValidationError as error:
                raise HubError(str(place), f"is no name of a repository: {error}") from error
            except HfHubHTTPError as error:
                status = error.response.status_code
                if wait is None or (status < 500 and status not in (408, 429)):
                    raise HubError(str(place), f"the hub answers {status}: {error}") from error
                problem: Exception = error
            except (httpx2.HTTPError, OSError) as error:
                if wait is None:
                    hint = "run it on a machine with network, or bring the folders: source local"
                    raise HubError(str(place), f"the hub cannot be reached: {error}", hint) from error
                problem = error
            logger.warning("%s: %s; trying again in %g s", place, problem, wait)
            time.sleep(wait)
        raise AssertionError("unreachable")


def _nearest_names(given: str, names: Sequence[str]) -> list[str]:
    """Names of the same form whose number is nearest; else those that are spelt alike."""

    def form(name: str) -> str:
        return re.sub(r"\d+", "0", name, count=1)

    def number(name: str) -> int:
        found = re.search(r"\d+", name)
        return int(found.group()) if found else 0

    alike = [name for name in names if form(name) == form(given)]
    alike.sort(key=lambda name: abs(number(name) - number(given)))
    return alike[:3] or difflib.get_close_matches(given, list(names), n=3, cutoff=0.5)


# -------------------------------------------------------------------------------------- choice


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def _model_files(place: Place, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """config.json and the weights in one format, safetensors if there are any."""
    named = {file.name: file for file in files}
    if "config.json" not in named:
        problem = f"has no config.json; there are {_few(sorted(named))}"
        raise HubError(str(place), problem, "a folder of the repository? name it as subfolder")
    chosen = [named[name] for name in ("config.json", "generation_config.json") if name in named]
    for single in _SINGLE:
        if single in named:
            return [*chosen, named[single]]
        stem, _, suffix = single.partition(".")
        shards = [
            file
            for name, file in sorted(named.items())
            if name.startswith(f"{stem}-") and name.endswith(f".{suffix}")
        ]
        index = named.get(f"{single}.index.json")
        if index is not None and shards:
            return [*chosen, index, *shards]
    raise HubError(
        str(place),
        f"has no weights in Hugging Face format ({' or '.join(_SINGLE)}, or their shards); there are "
        f"{_few(sorted(named))}",
        "convert them, and use source local",
    )


def _tokenizer_files(place: Place, files: Sequence[RemoteFile], taken: set[str]) -> list[RemoteFile]:
    chosen = [
        file
        for file in files
        if (file.name in _TOKENIZER or file.name.endswith(".model")) and file.name not in taken
    ]
    if not any(file.name == "tokenizer.json" or file.name.endswith(".model") or file.name.startswith("vocab")
               for file in chosen):  # fmt: skip
        names = sorted(file.name for file in files)
        hint = "name another place with tokenizer_repo and tokenizer_revision"
        raise HubError(str(place), f"has no tokenizer; there are {_few(names)}", hint)
    return chosen


def _compare_sizes(place: Place, config_file: Path, believed: Mapping[str, Any]) -> None:
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HubError(str(place), f"its config.json is no JSON: {error}") from error
    if config.get("model_type") != believed.get("model_type"):
        allowed = f"{config.get('model_type')}, as config.json of {place} says"
        raise StudyError("architecture", believed.get("model_type"), allowed)
    found, expected = dimensions(config), dimensions(believed)
    differing = [
        f"{name}: the study says {getattr(expected, name)}, the model has {getattr(found, name)}"
        for name in ("n_layers", "hidden", "mlp", "query", "key")
        if getattr(found, name) != getattr(expected, name)
    ]
    if differing:
        hint = "take the sizes from its config.json; `babelscope hub REPO` prints them"
        raise StudyError("architecture_config", dict(believed), "; ".join(differing), hint)


def open_hub(waits: Sequence[float] = WAITS[:2]) -> Hub:
    """The hub, for a look at it."""
    return Hub(waits)


def weights_of(files: Sequence[RemoteFile]) -> str:
    """Hash over those of the weight files of a place; what equal weights have in common."""
    digest = hashlib.sha256()
    for file in files:
        if _is_weights(file.name):
            digest.update((file.sha256 or file.blob).encode())
    return digest.hexdigest()


def _same_weights(weights_hash: str, siblings: Sequence[Path]) -> Path | None:
    for folder in siblings:
        manifest = read_manifest(folder)
        if manifest is not None and manifest.weights_sha256 == weights_hash:
            return folder
    return None


def _link_weights(twin: Path, files: Sequence[RemoteFile], scratch: Path) -> None:
    manifest = read_manifest(twin)
    assert manifest is not None
    known = {entry["sha256"]: twin / str(entry["name"]) for entry in manifest.files}
    for file in files:
        source = known.get(file.sha256)
        if source is None or (scratch / file.name).exists():
            continue
        try:
            os.link(source, scratch / file.name)
        except OSError:  # file systems without links
            shutil.copyfile(source, scratch / file.name)


# ---------------------------------------------------------------------------------------- disk


def _check_space(files: Sequence[RemoteFile], folder: Path) -> None:
    missing = 0
    for file in files:
        part = folder / f"{file.name}.part"
        if not (folder / file.name).exists():
            missing += file.n_bytes - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(folder).free
    if missing and missing + DISK_MARGIN > free:
        raise HubError(
            str(folder),
            f"{missing / 1e9:.1f} GB are still to be downloaded, {free / 1e9:.1f} GB are free",
            f"make room ({DISK_MARGIN / 1e9:.0f} GB are kept free), or run in a folder on another disk",
        )


def _digest(path: Path, file: RemoteFile) -> str:
    """SHA-256 of a large file; of others git's hash, which is all that the hub tells."""
    if file.sha256 is not None:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    content_bytes = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content_bytes) + content_bytes).hexdigest()


def _sha256(path: Path, file: RemoteFile) -> str:
    if file.sha256 is not None:
        return file.sha256  # verified
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextlib.contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """Refuse a second run on the same folder. Where locks are not supported, say so and go on."""
    with (scratch / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HubError(str(scratch), "another run downloads into this folder", "wait for it") from error
        except OSError as error:
            logger.warning("%s: this file system has no locks (%s); do not run this twice", scratch, error)
        yield


def _publish(manifest: Manifest, scratch: Path, folder: Path) -> None:
    content = json.dumps(dataclasses.asdict(manifest), indent=1)
    (scratch / MANIFEST).write_text(content, encoding="utf-8")
    for leftover in (scratch / _CLAIM, scratch / ".lock", *scratch.glob("*.part")):
        leftover.unlink(missing_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(scratch, folder)


def _few(names: Sequence[str]) -> str:
    if len(names) <= _LISTED:
        return ", ".join(names) or "none"
    return f"{len(names)}: {', '.join(names[: _LISTED - 3])}, ..., {', '.join(names[-3:])}"
