"""Languages: one notion of them for a whole study, whatever codes it writes them in.

Codes of BCP 47 and ISO 639 are read, with a script or a region and with `-` or `_`: *en*, *eng*, *eng_Latn*
and *en-GB* are English. A member of a macrolanguage is that language (*arb* and *arz* Arabic, *swh* Swahili,
*quy* Quechua), as it is where languages are identified, unless it has a code of two letters, as Croatian has,
or is one of Chinese. What is shown is always the code as the study writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache

import langcodes
from langcodes.data_dicts import MACROLANGUAGES
from langcodes.tag_parser import LanguageTagError

from babelscope.complaints import nearest
from babelscope.errors import StudyError

#: Languages that texts can be identified as, those of the library lingua, and their names.
IDENTIFIED = {
    "af": "Afrikaans", "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian",
    "bn": "Bengali", "bs": "Bosnian", "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian",
    "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fil": "Tagalog", "fr": "French", "ga": "Irish",
    "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian",
    "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ka": "Georgian",
    "kk": "Kazakh", "ko": "Korean", "la": "Latin", "lg": "Ganda", "lt": "Lithuanian", "lv": "Latvian",
    "mi": "Maori", "mk": "Macedonian", "mn": "Mongolian", "mr": "Marathi", "ms": "Malay", "nb": "Bokmal",
    "nl": "Dutch", "nn": "Nynorsk", "pa": "Punjabi", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sk": "Slovak", "sl": "Slovene", "sn": "Shona", "so": "Somali", "sq": "Albanian",
    "sr": "Serbian", "st": "Sotho", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu",
    "th": "Thai", "tn": "Tswana", "tr": "Turkish", "ts": "Tsonga", "uk": "Ukrainian", "ur": "Urdu",
    "vi": "Vietnamese", "xh": "Xhosa", "yo": "Yoruba", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip

#: Norwegian without its written form is taken as its most frequent one.
_TAKEN_AS = {"no": "nb"}

#: Codes that name no language, or not one.
_NO_LANGUAGE = frozenset({"und", "mul", "zxx", "mis", "root"})

#: Macrolanguages whose members nobody reads alike, so that each is a language of its own.
_NOT_ONE = frozenset({"zh"})

ENGLISH = "en"


@cache
def language_of(code: str) -> str:
    """The language that a code means, by its shortest code; what is no code stays as it is, in lower case.

    Args:
        code: Such as ``en``, ``arb_Arab``, ``zh-TW``.
    """
    try:
        tag = langcodes.standardize_tag(code, macro=True)
    except LanguageTagError:
        return code.lower()
    language = tag.split("-")[0]
    if language == "x" or "qaa" <= language <= "qtz":  # what it means is agreed on in private
        return tag.lower()
    # A member with a code of two letters (hr, nb, id) is written of as a language of its own.
    macro = MACROLANGUAGES.get(language) if len(language) > 2 else None
    language = macro if macro and macro not in _NOT_ONE else language
    return _TAKEN_AS.get(language, language)


@cache
def _variety_of(code: str) -> str:
    """What a code means with its script and region, spelt in the one way that standards prefer."""
    try:
        tag = langcodes.Language.get(langcodes.standardize_tag(code, macro=True)).simplify_script().to_tag()
    except LanguageTagError:
        return code.lower()
    return _TAKEN_AS.get(tag, tag)


def check_distinct_languages(key: str, codes: Iterable[str]) -> None:
    """Refuse one language under two codes, such as en and eng; *zh* and *zh-TW* are two.

    Raises:
        StudyError: With both.
    """
    first: dict[str, str] = {}
    for code in codes:
        same = first.setdefault(_variety_of(code), code)
        if same != code:
            hint = f"{same} and {code} are one language; take one of them out"
            raise StudyError(key, code, "each language once", hint)


def check_language(key: str, code: str) -> None:
    """Refuse what is no code of a language.

    Raises:
        StudyError: With a near one.
    """
    if langcodes.tag_is_valid(code):
        if langcodes.Language.get(code).language in {None, *_NO_LANGUAGE} and not code.startswith("x-"):
            hint = "for a language without a code BCP 47 has qaa to qtz, and x-NAME"
            raise StudyError(key, code, "a code of one language", hint)
        return
    names = {name.lower(): short for short, name in IDENTIFIED.items()}
    meant = names.get(code.lower())
    near = f"did you mean `{meant}`?" if meant else nearest(code.lower(), IDENTIFIED)
    allowed = "a code of a language, of BCP 47 or ISO 639, such as en, eng, eng_Latn"
    raise StudyError(key, code, allowed, near or "for a language without a code BCP 47 has qaa to qtz")


def as_written(code: str, codes: Collection[str]) -> str:
    """The code by which a list names a language; the code itself if it does not, or names it twice."""
    same = [other for other in codes if language_of(other) == language_of(code)]
    return same[0] if len(same) == 1 and code not in codes else code


def english_among(codes: Iterable[str]) -> str | None:
    """The code of English in a list, the first by name if there are several; None if there is none."""
    return min((code for code in codes if language_of(code) == ENGLISH), default=None)


def identified_as(code: str) -> str | None:
    """The one of :data:`IDENTIFIED` that texts in a language are identified as; None if they are not."""
    language = language_of(code)
    return language if language in IDENTIFIED else None


def by_identified(codes: Iterable[str]) -> dict[str, list[str]]:
    """The codes of a study by what their texts are identified as; those that cannot be are left out."""
    found: dict[str, list[str]] = {}
    for code in codes:
        if language := identified_as(code):
            found.setdefault(language, []).append(code)
    return found


def told_apart(codes: Iterable[str]) -> list[str]:
    """The codes whose texts can be identified, and are not taken for another language of the study.

    None if there is but one language to choose from, beside others that cannot be identified.
    """
    codes = list(codes)
    groups = by_identified(codes).values()
    return [same[0] for same in groups if len(same) == 1] if len(groups) > 1 or len(codes) == 1 else []
