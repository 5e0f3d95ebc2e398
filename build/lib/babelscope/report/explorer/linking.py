"""ES modules as one inline script.

A page that is one file can import nothing, so the modules of ``templates/explorer`` are put one behind the
other, each in a function of its own that returns what it exports. What they may write is little, and checked:
an import is ``import { a, b } from "./other.js";`` on one line, an export is ``export`` before a
``function``, an ``async function``, a ``const`` or a ``class``. Tests run the modules as they are.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./([\w]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|const|class) (\w+))", re.MULTILINE)


def linked(modules: Mapping[str, str], main: str) -> str:
    """The script of a module and all that it imports.

    Args:
        modules: Text of each module by its name, without ``.js``.
        main: The one that is run.

    Raises:
        ValueError: If a module imports one that is not there, or in a circle, or writes an import or export
            in another form, or the script could end the element that holds it.
    """
    parts: list[str] = []
    done: dict[str, bool] = {}

    def add(name: str) -> None:
        if name not in modules:
            raise ValueError(f"there is no module {name!r}; there are: {', '.join(sorted(modules))}")
        if not done.setdefault(name, False):
            for _, other in _IMPORT.findall(modules[name]):
                if done.get(other) is False:
                    raise ValueError(f"the modules {name!r} and {other!r} import each other")
                add(other)
            parts.append(_wrapped(name, modules[name]))
            done[name] = True

    add(main)
    script = '"use strict";\n' + "".join(parts)
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        raise ValueError("a script in a page may hold neither </script nor <!--")
    return script


def _wrapped(name: str, text: str) -> str:
    exported = _EXPORT.findall(text)
    text = _EXPORT.sub("", _IMPORT.sub(r"const { \1 } = module_\2;", text))
    if strange := re.search(r"^(import|export)\b.*", text, re.MULTILINE):
        raise ValueError(f"module {name!r}: cannot be put into a page: {strange.group()!r}")
    return f"const module_{name} = (() => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();\n"


def script_hash(script: str) -> str:
    """What a content security policy calls a script: ``sha256-...`` over its bytes."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"
