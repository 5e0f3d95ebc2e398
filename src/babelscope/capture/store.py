"""The HDF5 store: what a model computed, written once, read with every doubt checked.

A file has a group ``{step}/{lang}`` per cell, whose attributes say where its numbers come from. It is
written by one job, under a temporary name, flushed and renamed, so that a half-written file is never
seen under its final name. Rows carry the ids of their sentences and are joined by id. Names of shapes:
``N`` sentences, ``U`` units, ``T`` sampled tokens, ``d`` hidden size.

Layout of a cell of units: ``layer-03/mlp_act`` is ``(N, U)``, not chunked, since it is written in whole rows
and read as a whole. Where units are pooled in several ways, each further one has a group in the cell, such as
``mean``, with all that the cell has of the first. Layout of a cell of tokens: ``states/layer-03`` is
``(T, d)``, ``means/layer-03`` is ``(n, d)``. Layer 0 is the input of block 1, layer i the output of block i,
before any final norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from isal.isal_zlib import crc32  # the sum of zlib, at the speed of memory
from numpy.typing import NDArray

from babelscope.errors import NumericsError, StoreError
from babelscope.io.cells import Cell, by_cell, cell_of
from babelscope.io.files import AGAIN
from babelscope.io.h5 import open_h5, read_strings, write_strings

LAYER_CONVENTION = "0: input of block 1; i: output of block i, before any final norm"

LayerSite = tuple[int, str]
"""A layer and the name of a site in it."""
Block = tuple[int, Mapping[str, Mapping[LayerSite, NDArray[Any]]]]
"""Neighbouring sentences: the number of the first, and by pooling their values at each (layer, site),
``(rows, U)``."""


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a cell come from; kept as its attributes."""

    model: str
    step: int
    lang: str
    weights_hash: str
    tokenizer_hash: str
    corpus_hash: str
    sites: tuple[str, ...]
    pooling: str
    dtype: str
    """Type of what is stored: ``float16`` or ``float32``."""
    repo: str = ""
    commit: str = ""
    layer_convention: str = LAYER_CONVENTION
    package_version: str = ""
    n_truncated: int = 0
    """Sentences that were cut at the maximal length."""
    prefix: str = ""
    """Text before every sentence; kept only if there is one."""
    dictionaries_hash: str = ""
    """Over the files of the dictionaries whose latents are units; kept only if there is one."""

    @property
    def cell(self) -> str:
        """Model, step and language, for messages."""
        return f"model {self.model}, step {self.step}, language {self.lang}"


_MAY_LACK = ("prefix", "dictionaries_hash")


def write_provenance(group: h5py.Group, provenance: Provenance) -> None:
    """Keep the provenance as attributes of a cell."""
    for name, value in asdict(provenance).items():
        if name in _MAY_LACK and not value:
            continue
        group.attrs[name] = " ".join(value) if isinstance(value, tuple) else value


def read_provenance(group: h5py.Group) -> Provenance:
    """Read what :func:`write_provenance` wrote.

    Raises:
        StoreError: If an attribute is missing.
    """
    known = [name for name in Provenance.__dataclass_fields__ if name not in _MAY_LACK or name in group.attrs]
    missing = [name for name in known if name not in group.attrs]
    if missing:
        problem = f"{group.name} lacks the attributes {', '.join(missing)}"
        raise StoreError(group.file.filename, problem, AGAIN)
    fields = {name: group.attrs[name] for name in known}
    for name in ("step", "n_truncated"):
        fields[name] = int(fields[name])
    return Provenance(**{**fields, "sites": tuple(fields["sites"].split())})


def pooled_group(group: h5py.Group, origin: Provenance) -> h5py.Group:
    """Where the units of a pooling lie in a cell: of its first pooling in the cell, of others in a group."""
    return group if not len(group.attrs) else group.create_group(origin.pooling)


def pooled_name(cell: str, pooling: str = "") -> str:
    """Name of that group; without a pooling that of the first, which is the cell's."""
    return f"{cell}/{pooling}" if pooling else cell


def align_rows(wanted: Sequence[str], have: Sequence[str], where: str) -> NDArray[np.intp]:
    """Rows of ``have`` in the order of ``wanted``, joined by id.

    Args:
        wanted: Ids to find, any order.
        have: Ids of the rows, unique.
        where: Names the rows in the error.

    Raises:
        StoreError: If an id is missing or a row id stands twice.
    """
    rows = {sentence: row for row, sentence in enumerate(have)}
    if len(rows) != len(have):
        raise StoreError(where, f"{len(have) - len(rows)} of {len(have)} row ids stand twice")
    missing = [sentence for sentence in wanted if sentence not in rows]
    if missing:
        problem = (
            f"{len(missing)} of {len(wanted)} wanted sentences are not among its {len(have)} rows; "
            f"the first is {missing[0]!r}"
        )
        raise StoreError(where, problem, "the sentences changed since; run again")
    return np.array([rows[sentence] for sentence in wanted], dtype=np.intp)


def check_values(values: NDArray[Any], dtype: str, names: Sequence[str], where: str) -> NDArray[Any]:
    """Cast for storage; refuse what is not finite or does not fit.

    Args:
        values: Shape ``(rows, anything)``.
        dtype: ``float16`` or ``float32``.
        names: One name per row, for the error.
        where: Model, step, language, layer and site, for the error.

    Raises:
        NumericsError: With the first row concerned.
    """
    with np.errstate(over="ignore"):
        cast = values.astype(dtype, copy=False)
    if np.isfinite(cast).all():
        return cast
    finite = np.isfinite(values)
    row = int(np.argwhere(~np.isfinite(cast).all(axis=1))[0, 0])
    if finite.all():
        largest = float(np.abs(values).max())
        raise NumericsError(
            f"{where}: {largest:.4g} does not fit {dtype}; first sentence {names[row]!r}"
            "\nhint: set extraction.dtype (states: extraction.state_dtype) to float32"
        )
    bad = "NaN" if np.isnan(values[row]).any() else "infinity"
    raise NumericsError(
        f"{where}: {bad} in the activations; first sentence {names[row]!r}"
        "\nhint: the checkpoint may be broken, or extraction.compute_dtype too narrow"
    )


def write_units(
    group: h5py.Group,
    origins: Sequence[Provenance],
    sentence_ids: Sequence[str],
    widths: Mapping[LayerSite, int],
    blocks: Iterable[Block],
    n_tokens: Sequence[int] | None = None,
) -> None:
    """Write the pooled unit activations of a cell as they come, in blocks of sentences.

    Args:
        group: The cell's group in a file of units, empty or with other poolings; the file is the caller's to
            close.
        origins: Where the numbers come from, of each pooling.
        sentence_ids: The rows, in their order; at least one, each once.
        widths: Units of each (layer, site), in unit order.
        blocks: The first row of each, in order, and by pooling per (layer, site) an array of shape
            ``(rows, U)``.
        n_tokens: Tokens of each sentence that were pooled, ``(N,)``.

    Raises:
        NumericsError: If a value is not finite or does not fit the type.
    """
    ids, groups = list(sentence_ids), {}
    for origin in origins:
        own = groups[origin.pooling] = pooled_group(group, origin)
        write_provenance(own, origin)
        write_strings(own, "sentence_ids", ids)
        if n_tokens is not None:
            own.create_dataset("n_tokens", data=np.asarray(n_tokens, np.int32), track_times=False)
        own.attrs["unit_order"] = [f"{layer} {site}" for layer, site in widths]
        for unit, n in widths.items():
            own.create_dataset(_unit_name(*unit), (len(ids), n), origin.dtype, track_times=False)
    checksums = {(origin.pooling, unit): 0 for origin in origins for unit in widths}
    n_written = 0
    for start, pooled in blocks:
        assert start == n_written, "blocks of rows come in order"
        assert pooled.keys() == groups.keys(), "a block has every pooling"
        for origin in origins:
            values = pooled[origin.pooling]
            assert values.keys() == widths.keys(), "a block has every (layer, site)"
            names = ids[start : start + len(next(iter(values.values())))]
            n_written = start + len(names)
            for unit, block_NU in values.items():
                assert block_NU.shape == (len(names), widths[unit])
                where = f"{origin.cell}, layer {unit[0]}, site {unit[1]}"
                cast = np.ascontiguousarray(check_values(block_NU, origin.dtype, names, where))
                groups[origin.pooling][_unit_name(*unit)][start:n_written] = cast
                # Over the rows in their order, so that a reader can recompute it at one go.
                checksums[origin.pooling, unit] = crc32(cast.data, checksums[origin.pooling, unit])
    assert n_written == len(ids), "every row is written"
    for (pooling, unit), checksum in checksums.items():
        groups[pooling][_unit_name(*unit)].attrs["crc32"] = checksum


def _unit_name(layer: int, site: str) -> str:
    return f"layer-{layer:02d}/{site}"


class _CellFile:
    """One cell of a file; its classes say what else is known of it once it is open."""

    kind: ClassVar[str]

    def __init__(self, path: Path | str, cell: str) -> None:
        self.path, self.cell = Path(path), cell
        with open_h5(self.path, kind=self.kind) as file:
            group = cell_of(file, cell)
            self.provenance = read_provenance(group)
            self._describe(group)

    def _describe(self, group: h5py.Group) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.cell} of {self.path.name}>"

    def _read(self, name: str, missing: str, columns: slice = slice(None)) -> NDArray[Any]:
        """An array of the cell; a whole one is compared with its checksum, a part of its columns is not."""
        with open_h5(self.path, kind=self.kind) as file:
            group = cell_of(file, self.cell)
            if name not in group:
                raise StoreError(self.path, f"{self.cell} has no {missing}")
            data, name = group[name], f"{self.cell}/{name}"
            try:
                values = np.ascontiguousarray(data[:, columns])
            except OSError as error:
                raise StoreError(self.path, f"{name} cannot be read ({error})", AGAIN) from error
            if columns == slice(None) and crc32(values.data) != data.attrs.get("crc32"):
                problem = f"{name} does not match its checksum: the file is damaged"
                raise StoreError(self.path, problem, AGAIN)
            return values


class UnitFile(_CellFile):
    """Pooled unit activations of one cell, for reading.

    Attributes:
        path, cell: The file, and the cell's group in it, such as ``64/en``; or ``64/en/mean`` of a further
            pooling.
        provenance: Where the numbers come from.
        sentence_ids: The rows, in their order; length ``N``.
        n_tokens: Tokens of each that were pooled; None if they were not written.
        sites: (layer, site, number of units), in unit order.

    Raises:
        StoreError: If the file is truncated, foreign, incomplete or of another version, or lacks the cell.
    """

    kind = "units"

    def _describe(self, group: h5py.Group) -> None:
        self.sentence_ids = read_strings(group, "sentence_ids")
        self.n_tokens: list[int] | None = group["n_tokens"][:].tolist() if "n_tokens" in group else None
        self.sites: list[tuple[int, str, int]] = []
        for entry in group.attrs["unit_order"]:
            layer, site = entry.split()
            name = _unit_name(int(layer), site)
            if name not in group:
                raise StoreError(self.path, f"{self.cell} lacks the dataset {name}", AGAIN)
            rows, width = group[name].shape
            if rows != len(self.sentence_ids):
                problem = f"{self.cell}/{name} has {rows} rows for {len(self.sentence_ids)} sentence ids"
                raise StoreError(self.path, problem, AGAIN)
            self.sites.append((int(layer), site, int(width)))

    @property
    def n_units(self) -> int:
        """Units at all sites."""
        return sum(width for _, _, width in self.sites)

    def read(self, layer: int, site: str, columns: slice = slice(None)) -> NDArray[Any]:
        """Values of one (layer, site), shape ``(N, units)``, as stored.

        A whole array is compared with its checksum; a part of its columns is not.

        Raises:
            StoreError: If there is no such array or it is damaged.
        """
        name = _unit_name(layer, site)
        there = ", ".join(f"{layer} {site}" for layer, site, _ in self.sites)
        return self._read(name, f"{name}; it has {there}", columns)


def write_token_states(
    group: h5py.Group,
    provenance: Provenance,
    *,
    token_sentence_ids: Sequence[str],
    token_positions: Sequence[int],
    token_ids: Sequence[int],
    token_texts: Sequence[str],
    states: Mapping[int, NDArray[Any]],
    mean_sentence_ids: Sequence[str],
    means: Mapping[int, NDArray[Any]],
) -> None:
    """Write the states of sampled tokens and the mean states of sentences of a cell.

    Args:
        group: The cell's group, empty, in a file of tokens; the file is the caller's to close.
        provenance: Where the numbers come from.
        token_sentence_ids: Sentence of each sampled token; length ``T``.
        token_positions: Its position in the input; 0 is the start token.
        token_ids: Its id in the tokenizer's vocabulary.
        token_texts: How it is spelt.
        states: Per layer, shape ``(T, d)``.
        mean_sentence_ids: Sentences that have a mean state; length ``n``.
        means: Per layer, mean over the sentence's tokens without the start token, ``(n, d)``.

    Raises:
        NumericsError: If a value is not finite or does not fit the type.
    """
    write_provenance(group, provenance)
    write_strings(group, "token_sentence_ids", token_sentence_ids)
    write_strings(group, "token_texts", token_texts)
    write_strings(group, "mean_sentence_ids", mean_sentence_ids)
    for name, numbers in (("token_positions", token_positions), ("token_ids", token_ids)):
        group.create_dataset(name, data=np.asarray(numbers, np.int32), track_times=False)
    for kind, arrays, names in (("states", states, token_sentence_ids), ("means", means, mean_sentence_ids)):
        for layer, values in arrays.items():
            where = f"{provenance.cell}, layer {layer}, site resid ({kind})"
            cast = np.ascontiguousarray(check_values(values, provenance.dtype, names, where))
            # Read whole, so a single chunk; packed they take 8 of 10 bytes, for a second in twenty megabytes.
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "chunks": cast.shape}
            data = group.create_dataset(
                f"{kind}/layer-{layer:02d}", data=cast, track_times=False, **(packed if cast.size else {})
            )
            data.attrs["crc32"] = crc32(cast.data)


class TokenFile(_CellFile):
    """Sampled token states and sentence means of one cell, for reading.

    Attributes:
        path, cell: The file, and the cell's group in it, such as ``64/en``.
        provenance: Where the numbers come from.
        layers: The layers that are stored, 0 to L.
        token_sentence_ids: Sentence of each sampled token; length ``T``.
        token_positions: Its position in the input; 0 is the start token.
        token_ids: Its id in the tokenizer's vocabulary.
        token_texts: How it is spelt.
        mean_sentence_ids: Sentences that have a mean state; length ``n``.

    Raises:
        StoreError: If the file is truncated, foreign, incomplete or of another version, or lacks the cell.
    """

    kind = "tokens"

    def _describe(self, group: h5py.Group) -> None:
        self.token_sentence_ids = read_strings(group, "token_sentence_ids")
        self.token_texts = read_strings(group, "token_texts")
        self.mean_sentence_ids = read_strings(group, "mean_sentence_ids")
        for name in ("token_positions", "token_ids", "states", "means"):
            if name not in group:
                raise StoreError(self.path, f"{self.cell} lacks the dataset {name}", AGAIN)
        self.token_positions: list[int] = group["token_positions"][:].tolist()
        self.token_ids: list[int] = group["token_ids"][:].tolist()
        self.layers = sorted(int(name.removeprefix("layer-")) for name in group["states"])

    def states(self, layer: int) -> NDArray[Any]:
        """States of the sampled tokens, shape ``(T, d)``."""
        return self._read(f"states/layer-{layer:02d}", f"layer {layer}; it has {self.layers}")

    def means(self, layer: int) -> NDArray[Any]:
        """Mean states of sentences, shape ``(n, d)``, rows as in ``mean_sentence_ids``."""
        return self._read(f"means/layer-{layer:02d}", f"layer {layer}; it has {self.layers}")


def unit_files(
    paths: Iterable[Path | str], wanted: Iterable[Cell] | None = None, *, pooling: str = ""
) -> dict[Cell, UnitFile]:
    """The cells of a model's unit files, by step and language; see :func:`babelscope.io.cells.by_cell`.

    ``pooling`` names a further one; by default it is the first of each cell.
    """
    found = by_cell(paths, kind="units", wanted=wanted)
    return {cell: UnitFile(path, pooled_name(name, pooling)) for cell, (path, name) in found.items()}


def token_files(paths: Iterable[Path | str], wanted: Iterable[Cell] | None = None) -> dict[Cell, TokenFile]:
    """The cells of a model's token files, by step and language; see :func:`babelscope.io.cells.by_cell`."""
    found = by_cell(paths, kind="tokens", wanted=wanted)
    return {cell: TokenFile(path, name) for cell, (path, name) in found.items()}


def tokens_of_models(
    paths: Iterable[Path], wanted: Mapping[str, Iterable[Cell]]
) -> dict[str, dict[Cell, TokenFile]]:
    """The wanted cells of the token files of several models, by model and then as :func:`token_files`.

    The files of a model lie in folders of its steps, and these in a folder of its name.
    """
    folders: dict[str, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent.parent.name, []).append(path)
    return {model: token_files(of_model, wanted[model]) for model, of_model in folders.items()}
