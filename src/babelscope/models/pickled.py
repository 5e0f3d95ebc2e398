"""Names, types and shapes of the tensors in a ``.bin`` file of torch, without torch and without running it.

Such a file is a ZIP archive with a pickle that says which tensors there are, and the bytes of each beside it.
Only what torch writes for tensors by name is followed here, and nothing that it names is called; what is
unusual is left to :func:`torch.load` with ``weights_only``, in the job that loads it.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from babelscope.errors import ModelError

#: Most bytes of the pickle, which has some 200 for each tensor.
_LARGEST = 50_000_000
_TYPES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL",
}  # fmt: skip
#: Of other names in these modules nothing is known here; nor of these, which torch opens as well.
_MODULES = ("torch", "collections")
_OPENED = (("_codecs", "encode"), ("__builtin__", "bytearray"), ("__builtin__", "set"))


class PickledTensor(NamedTuple):
    """A tensor as the pickle describes it."""

    type: str
    shape: tuple[int, ...]


class _Unusual(Exception):
    """Something that torch writes too, but not for plain tensors."""


def pickled_tensors(file: Path) -> dict[str, PickledTensor] | None:
    """The tensors of a ``.bin`` file by name; None if only torch can tell them.

    Raises:
        ModelError: If the pickle names something that is no part of a tensor, and so would be run.
    """
    content = _pickle_of(file)
    if content is None:
        return None
    reader = _Reader(io.BytesIO(content))
    try:
        found = reader.load()
    except _Asks as asked:
        raise not_opened(file, f"asks for {asked}") from None
    except Exception:  # damaged or unusual, and then torch's to judge: the reader's errors are of many kinds
        return None
    if not isinstance(found, _Names) or not all(isinstance(value, PickledTensor) for value in found.values()):
        return None
    return dict(found)


def not_opened(file: Path, what: str) -> ModelError:
    """What to say of a pickle that asks for more than tensors."""
    hint = "take the safetensors of the same model; opening such a file would run what its author put into it"
    return ModelError(file, f"is a pickle of more than weights: it {what}, and is not opened", hint)


def _pickle_of(file: Path) -> bytes | None:
    """The pickle of an archive; None if the file is none, or it is damaged or too large."""
    try:
        with zipfile.ZipFile(file) as archive:
            (entry,) = (each for each in archive.infolist() if each.filename.endswith("/data.pkl"))
            if entry.file_size > _LARGEST or entry.compress_type != zipfile.ZIP_STORED:
                return None
            return archive.read(entry)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None


class _Asks(Exception):
    """The name of something that is no part of a tensor."""


class _Names(dict[str, Any]):
    """A mapping whose keys are names: hashing nested tuples could take for ever."""

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise _Unusual
        super().__setitem__(key, value)


class _Storage(NamedTuple):
    type: str


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], *_: object) -> PickledTensor:
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in shape):
        raise _Unusual
    return PickledTensor(storage.type, tuple(shape))


def _parameter(tensor: PickledTensor, *_: object) -> PickledTensor:
    return tensor


_PARTS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _Names,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): _Storage(short) for name, short in _TYPES.items()},
}
#: Nothing is hashed, called or set but by these: PROTO to STOP as torch writes them.
_OPCODES = (
    pickle.PROTO, pickle.FRAME, pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.MARK, pickle.STOP, pickle.REDUCE,
    pickle.BINPERSID, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
    pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS, pickle.BUILD, pickle.NONE, pickle.NEWTRUE,
    pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINUNICODE,
    pickle.SHORT_BINUNICODE, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET,
    pickle.MEMOIZE,
)  # fmt: skip


class _Reader(pickle._Unpickler):  # the one in Python, whose steps can be chosen
    """Follows the pickle; what it builds are names, numbers and :class:`PickledTensor`."""

    stack: list[Any]
    append: Callable[[Any], None]

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code[0]: pickle._Unpickler.dispatch[code[0]] for code in _OPCODES
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _PARTS:
            return _PARTS[module, name]
        if module.partition(".")[0] in _MODULES or (module, name) in _OPENED:
            raise _Unusual
        raise _Asks(f"{module}.{name}")

    def persistent_load(self, pid: object) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise _Unusual
        if not isinstance(pid[1], _Storage):
            raise _Unusual
        return pid[1]

    def _empty(self) -> None:
        self.append(_Names())

    def _build(self) -> None:
        self.stack.pop()  # of state dicts: versions of modules, which nothing here reads

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        if self.stack[-1] not in (_Names, _tensor, _parameter) or (self.stack[-1] is _Names and arguments):
            raise _Unusual
        self.stack[-1] = self.stack[-1](*arguments)

    dispatch[pickle.EMPTY_DICT[0]] = _empty
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.REDUCE[0]] = _reduce
