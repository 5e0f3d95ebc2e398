"""The hub: what it holds at a commit, and single files from it, with errors in words.

Downloads go through :func:`huggingface_hub.file_download.http_get`, which resumes, and not through
``hf_hub_download``, whose partial files belong to one process and are removed when it ends. Xet, the
hub's other protocol, is not used: it has no byte ranges to go on from, and no hash of the file to check.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
import hashlib
import ipaddress
import logging
import os
import re
import socket
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from babelscope.errors import BabelscopeError, ModelError, shown
from babelscope.io.files import file_sha256, is_own_file, is_plain_name, open_to_append
from babelscope.io.json import LARGEST
from babelscope.models.files import choose_weights, read_config, read_index
from babelscope.runtime import ShownFormatter

logger = logging.getLogger(__name__)

#: Seconds to wait before each further attempt, after errors that may pass.
WAITS = (2.0, 5.0, 15.0, 60.0, 180.0)

_LISTED = 12


class HubError(BabelscopeError):
    """The hub does not have what the study names, does not give it, or cannot be reached."""

    section = "the-hub"

    def __init__(self, what: object, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(f"{what}: {problem}" + (f"\nhint: {hint}" if hint else ""))


@dataclass(frozen=True)
class HubPlace:
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
        repo: The repository.
        commit: The commit.
    """

    path: str
    name: str
    n_bytes: int
    sha256: str | None
    blob: str
    repo: str
    commit: str


class Hub:
    """The real client, with errors in words and further attempts after those that may pass."""

    def __init__(self, waits: Sequence[float] = WAITS) -> None:
        os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1")
        import huggingface_hub

        for handler in logging.getLogger("huggingface_hub").handlers:
            handler.setFormatter(ShownFormatter("%(message)s"))
        self.endpoint = os.environ.get("HF_ENDPOINT") or None
        if self.endpoint:
            _check_address(self.endpoint)
        if self.endpoint and _is_open(self.endpoint) and huggingface_hub.get_token():
            advice = "use https, or unset the token"
            logger.warning("%s: your token is sent to it in the open; %s", shown(self.endpoint), advice)
        self.api = huggingface_hub.HfApi(endpoint=self.endpoint)
        self.waits = waits

    def list_files(self, place: HubPlace) -> tuple[str, list[RemoteFile]]:
        """The commit that a revision stands for, and the files of the place."""
        from huggingface_hub.errors import RevisionNotFoundError
        from huggingface_hub.hf_api import RepoFile

        try:
            info = self._try(place, lambda: self.api.repo_info(place.repo, revision=place.revision))
        except RevisionNotFoundError as error:
            names = self.revisions(place.repo)
            near = _nearest_names(place.revision, names)
            hint = f"did you mean {', '.join(near)}?" if near else ""
            raise HubError(place, f"there is no such revision; there are {few(names)}", hint) from error
        commit = str(info.sha)
        tree = functools.partial(self.api.list_repo_tree, place.repo, recursive=True, revision=commit)
        entries = self._try(place, lambda: list(tree()))
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
        # A name that could not be written, or would be shown as something else, is none that we look for.
        inside = [file for file in files if is_plain_name(file.name)]
        if place.subfolder and not files:
            folders = sorted({str(Path(entry.path).parent) for entry in entries} - {"."})
            raise HubError(place, f"there is no such folder; there are {few(folders)}")
        return commit, inside

    def revisions(self, repo: str) -> list[str]:
        """Names of all branches and tags."""
        refs = self._try(HubPlace(repo, "main"), lambda: self.api.list_repo_refs(repo))
        return [str(ref.name) for ref in [*refs.branches, *refs.tags]]

    def licence(self, repo: str) -> str:
        """The licence that the repository's card names; empty if it names none."""
        info = self._try(HubPlace(repo, "main"), lambda: self.api.repo_info(repo))
        tags = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
        return str(tags[0]) if tags else ""

    def config(self, place: HubPlace, files: Sequence[RemoteFile], folder: Path) -> dict[str, Any]:
        """``config.json`` of a place, which is downloaded into the folder."""
        found = next((file for file in files if file.name == "config.json"), None)
        if found is None:
            problem = f"has no config.json; there are {few(sorted(file.name for file in files))}"
            raise HubError(place, problem, "a folder of the repository? name it as subfolder")
        self._download_json(found, folder)
        return read_config(folder)

    def weights(
        self, place: HubPlace, files: Sequence[RemoteFile], folder: Path
    ) -> tuple[list[RemoteFile], list[RemoteFile]]:
        """What :func:`babelscope.models.files.choose_weights` chooses of the files of a place.

        Returns:
            The index, if there is one, which is then downloaded into the folder; and the weights.
        """
        named = {file.name: file for file in files}

        def shards_of(index: str) -> list[str]:
            self._download_json(named[index], folder)
            return read_index(folder / index)

        index, names = choose_weights(named, shards_of)
        missing = [name for name in names if name not in named]
        if missing:
            raise HubError(place, f"its {index} names {missing[0]}, which is not there")
        return [named[index]] if index else [], [named[name] for name in names]

    def _download_json(self, file: RemoteFile, folder: Path) -> None:
        if file.n_bytes > LARGEST:
            problem = f"its {file.path} has {file.n_bytes:,} bytes; allowed: {LARGEST:,} or less"
            raise HubError(f"{file.repo} at {file.commit}", problem)
        self.download(file, folder)

    def download(self, file: RemoteFile, folder: Path) -> None:
        """Bring a file, from where an earlier attempt stopped; a wrong hash is tried once more."""
        target, expected = folder / file.name, file.sha256 or file.blob
        if target.is_dir() and not target.is_symlink():
            raise ModelError(
                target, "is a folder where a file would be downloaded", "remove it and run again"
            )
        # What is there may be of another commit, or linked from a folder that was changed since.
        if is_own_file(target) and _digest(target, file) == expected:
            return
        for attempt in (1, 2):
            part = folder / f"{file.name}.part"
            self._try(HubPlace(file.repo, file.commit), functools.partial(self._get, file, part))
            found = _digest(part, file)
            if found == expected:
                os.replace(part, target)
                return
            part.unlink()
            logger.warning("%s: %s has a wrong hash (attempt %d)", file.repo, file.path, attempt)
        found = f"expected {expected}, found {found} twice"
        problem = f"{file.path} does not have the hash that the hub names: {found}"
        hint = "something between the hub and here changes files; nothing of it was kept"
        raise HubError(f"{file.repo} at {file.commit}", problem, hint)

    def _get(self, file: RemoteFile, part: Path) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils._headers import build_hf_headers

        url = hf_hub_url(file.repo, file.path, revision=file.commit, endpoint=self.endpoint)
        with open_to_append(part) as content:
            if content.tell() > file.n_bytes:  # of another file that had this name
                content.truncate(0)
                content.seek(0)
            done = content.tell()
            logger.info("%s: %d of %d bytes are there", file.path, done, file.n_bytes)
            if file.n_bytes == 0:
                return
            http_get(
                url,
                cast(BinaryIO, _Bounded(content, file)),
                resume_size=done,
                headers=build_hf_headers(),
                expected_size=file.n_bytes,
                _nb_retries=0,  # tried again by us, with growing waits
            )

    def _try(self, place: HubPlace, action: Callable[[], Any]) -> Any:
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
                where = "where there is network, without HF_HUB_OFFLINE"
                fetch = "snakemake --cores 1 --until fetch_checkpoint --configfile STUDY"
                hint = f"run the one rule that needs it {where}: {fetch}"
                raise HubError(place, "HF_HUB_OFFLINE is set, so nothing can be fetched", hint) from error
            except GatedRepoError as error:
                page = f"https://huggingface.co/{place.repo}"
                hint = f"accept its terms at {page}, then `hf auth login` or set HF_TOKEN"
                lacking = "the repository is gated, and this account has no access"
                raise HubError(place, lacking, hint) from error
            except RepositoryNotFoundError as error:
                hint = "if it is private: `hf auth login`, or set HF_TOKEN"
                raise HubError(place, "there is no such repository, or it is private", hint) from error
            except RevisionNotFoundError:
                raise
            except HFValidationError as error:
                raise HubError(place, f"is no name of a repository: {error}") from error
            except HfHubHTTPError as error:
                status = error.response.status_code
                if wait is None or (status < 500 and status not in (408, 429)):
                    raise HubError(place, f"the hub answers {status}: {error}") from error
                problem: Exception = error
            except (httpx2.HTTPError, OSError) as error:
                if wait is None or (_has_no_name(error) and wait != self.waits[0]):
                    hint = "run it on a machine with network, or bring the folders: source local"
                    raise HubError(place, f"the hub cannot be reached: {error}", hint) from error
                problem = error
            logger.warning("%s: %s; trying again in %g s", place, problem, wait)
            time.sleep(wait)
        raise AssertionError("unreachable")


class _Bounded:
    """Takes as many bytes as the hub has listed, and no more, whatever is sent."""

    def __init__(self, content: BinaryIO, file: RemoteFile) -> None:
        self._content, self._file = content, file
        self.seek, self.tell, self.truncate = content.seek, content.tell, content.truncate

    def write(self, data: bytes) -> int:
        if self.tell() + len(data) > self._file.n_bytes:
            self.truncate(0)
            problem = (
                f"sends more of {self._file.path} than the {self._file.n_bytes} bytes that it has listed"
            )
            raise HubError(f"{self._file.repo} at {self._file.commit}", problem, "nothing of it was kept")
        return self._content.write(data)


def _has_no_name(error: BaseException | None) -> bool:
    """Whether the hub's name or net was not even found, as on a machine without network."""
    while error is not None:
        if isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.ENETUNREACH:
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_address(endpoint: str) -> None:
    """Refuse what is no address, without printing it.

    Libraries name the part that they cannot read, which may be of a password.
    """
    try:
        parts = urllib.parse.urlsplit(endpoint)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        hint = "write https://HOST; in a login / is %2F, ? is %3F, # is %23, @ is %40"
        raise HubError("HF_ENDPOINT", "is no address of a hub (not shown, since it may hold a login)", hint)


def _is_open(endpoint: str) -> bool:
    """Whether others on the network can read what is sent to an address."""
    parts = urllib.parse.urlsplit(endpoint)
    host = parts.hostname or ""
    with contextlib.suppress(ValueError):
        return parts.scheme == "http" and not ipaddress.ip_address(host).is_loopback
    return parts.scheme == "http" and host != "localhost"


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


def _digest(path: Path, file: RemoteFile) -> str:
    """SHA-256 of a large file; of others git's hash, which is all that the hub tells."""
    if file.sha256 is not None:
        return file_sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def few(names: Sequence[str]) -> str:
    """Names for an error; of many the first and the last."""
    if len(names) <= _LISTED:
        return ", ".join(names) or "none"
    return f"{len(names)}: {', '.join(names[: _LISTED - 3])}, ..., {', '.join(names[-3:])}"
