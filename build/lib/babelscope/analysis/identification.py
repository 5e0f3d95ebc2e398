"""The language of generated texts, by lingua restricted to the languages of the study."""

from __future__ import annotations

import logging
import unicodedata
import zlib
from collections.abc import Sequence

import pandas as pd
from lingua import Language, LanguageDetectorBuilder

from babelscope.text.clones import NO_CLONES, Clones, part_of, without_clones
from babelscope.text.languages import by_identified, language_of

logger = logging.getLogger(__name__)

#: A text with fewer letters has no language; but a syllable or a word of Chinese is one letter.
MIN_LETTERS = 3

#: Language of a text that has too few letters.
UNDETERMINED = "und"

#: Between the codes of languages that are one to lingua.
BOTH = " or "


def identify_languages(
    texts: pd.DataFrame, languages: Sequence[str], clones: Clones = NO_CLONES
) -> pd.DataFrame:
    """Identify the language of each text among the languages of the study.

    A text in another language is counted as one of these: the question is which of the study's
    languages a text is nearest to. A text of several languages gets one of them. A text with fewer
    than three letters (one of a script without spaces) is ``und`` with confidence 0. Lingua does not know
    clones, so a text is in one if more than half of its letters are; their share is the confidence.

    A language that lingua lacks is never found. Where it takes two of the study for one, such as ``zh`` and
    ``zh-TW``, a text is in ``zh or zh-TW``. With one language to choose from, beside others that lingua
    lacks, all are ``und``.

    Args:
        texts: Table with the columns ``model``, ``step`` and ``text``, in any script.
        languages: Codes of the study, see :mod:`babelscope.text.languages`.
        clones: Those among the languages.

    Returns:
        Columns ``model``, ``step``, ``row`` (position of the text), ``text_crc32`` (to check by what it
        says), ``language`` (a code of the study, or ``und``), ``confidence`` in [0, 1].
    """
    known = [lang for lang in languages if lang not in clones]
    codes = _lingua_languages(known)
    if len(codes) > 1:
        detector = LanguageDetectorBuilder.from_languages(*codes).build()
    elif len(languages) == 1:
        logger.warning("there is one language to choose from, so every text is in it")
    rows = []
    for row, text in enumerate(texts["text"]):
        crc = zlib.crc32(text.encode("utf-8"))
        clone, share = _most_of(text, clones)
        rest = without_clones(text)
        if clone:
            rows.append((row, crc, clone, share))
        elif not codes or not _long_enough(rest) or (len(codes) == 1 < len(known)):
            rows.append((row, crc, UNDETERMINED, 0.0))
        elif len(codes) == 1:
            rows.append((row, crc, known[0], 1.0))
        else:
            values = detector.compute_language_confidence_values(rest)
            # Equal values come in no fixed order, and the last digits differ from run to run.
            value, code = min((-round(found.value, 6), codes[found.language]) for found in values)
            rows.append((row, crc, code, -value) if value < 0 else (row, crc, UNDETERMINED, 0.0))
    found = pd.DataFrame(rows, columns=["row", "text_crc32", "language", "confidence"])
    return pd.concat([texts[["model", "step"]].reset_index(drop=True), found], axis=1)


def _most_of(text: str, clones: Clones) -> tuple[str, float]:
    """The clone that more than half of a text's letters are of, and their share; empty if there is none."""
    parts = {clone: part_of(text, letters) for clone, (_, letters) in clones.items()}
    counts = {clone: sum(map(str.isalpha, part)) for clone, part in parts.items()}
    total = sum(counts.values()) + sum(map(str.isalpha, without_clones(text)))
    for clone, count in counts.items():
        if 2 * count > total and _long_enough(parts[clone]):
            return clone, count / total
    return "", 0.0


def _lingua_languages(languages: Sequence[str]) -> dict[Language, str]:
    """The study's code of each of lingua's languages; all its codes where several are one to lingua."""
    lingua = {language_of(language.iso_code_639_3.name.lower()): language for language in Language.all()}
    return {lingua[name]: BOTH.join(sorted(codes)) for name, codes in by_identified(languages).items()}


def _long_enough(text: str) -> bool:
    letters = [c for c in text if unicodedata.category(c)[0] == "L"]
    # Ideographs and syllables (Lo of Chinese, Japanese, Korean, Thai) say more than a letter.
    return len(letters) >= MIN_LETTERS or any(c >= "⺀" or "฀" <= c <= "๿" for c in letters)
