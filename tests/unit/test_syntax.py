"""Concepts of form: forms that were written down by hand, pairs of the same words, and old text as it was."""

from __future__ import annotations

import copy
import hashlib
import random
import re
from pathlib import Path

import pytest
import yaml

from babelscope.errors import StudyError
from babelscope.ops.concepts import look_at_concepts
from babelscope.ops.costs import CostModel
from babelscope.ops.sensitivity import sensitivity_text
from babelscope.study.loading import load_study
from babelscope.text.concepts import label_sentences, words_of_concepts, write_concept_words
from babelscope.text.corpora import make_documents_file
from babelscope.text.grammar.generate import PREFIXES, make_documents, make_sentences
from babelscope.text.grammar.lexicon import LANGUAGES, load_lexicon
from babelscope.text.grammar.syntax import (
    SCENES,
    SYNTAX,
    Clause,
    Said,
    choose_pairs,
    clause_text,
    concepts_of,
    draw_clause,
    draw_style,
    has_forms,
    load_forms,
    things_said,
)
from babelscope.text.lines import read_tsv
from babelscope.text.sentences import prepare_sentences
from mini_study import ROOT

DEMO = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
SPOKEN = tuple(lang for lang in LANGUAGES if lang != "zh")
WITH_ORDER = ("de", "ru", "tr", "hi")
WEIGHTS = dict.fromkeys(LANGUAGES, 1 / len(LANGUAGES))

#: Written by hand: nurse, wake, patient in one and in many; in both orders; in the first and the third person;
#: old man, open, cupboard with the place first and later, in one and in many.
TRUTH = {
    "en": [
        "the nurse wakes the patient", "the nurses wake the patient", "the nurse wakes the patients", None,
        "I wake the patient", "he wakes the patient", "in the hotel the old man opens the cupboards",
        "the old men open the cupboard in the hotels",
    ],
    "es": [
        "la enfermera despierta al paciente", "las enfermeras despiertan al paciente",
        "la enfermera despierta a los pacientes", None, "yo despierto al paciente", "él despierta al paciente",
        "en el hotel el anciano abre los armarios", "los ancianos abren el armario en los hoteles",
    ],
    "fr": [
        "l'infirmière réveille le patient", "les infirmières réveillent le patient",
        "l'infirmière réveille les patients", None, "je réveille le patient", "il réveille le patient",
        "dans l'hôtel le vieillard ouvre les armoires", "les vieillards ouvrent l'armoire dans les hôtels",
    ],
    "de": [
        "die Krankenschwester weckt den Patienten", "die Krankenschwestern wecken den Patienten",
        "die Krankenschwester weckt die Patienten", "den Patienten weckt die Krankenschwester",
        "ich wecke den Patienten", "er weckt den Patienten",
        "im Hotel öffnet der Greis die Schränke", "die Greise öffnen den Schrank in den Hotels",
    ],
    "ru": [
        "медсестра будит пациента", "медсёстры будят пациента", "медсестра будит пациентов",
        "пациента будит медсестра", "я бужу пациента", "он будит пациента",
        "в гостинице старик открывает шкафы", "старики открывают шкаф в гостиницах",
    ],
    "tr": [
        "hemşire uyandırıyor hastayı", "hemşireler uyandırıyor hastayı", "hemşire uyandırıyor hastaları",
        "hemşire hastayı uyandırıyor", "ben uyandırıyorum hastayı", "o uyandırıyor hastayı",
        "otelde ihtiyar dolapları açıyor", "ihtiyarlar otellerde dolabı açıyor",
    ],
    "hi": [
        "नर्स जगाती है मरीज़ को", "नर्सें जगाती हैं मरीज़ को", "नर्स जगाती है मरीज़ों को", "नर्स मरीज़ को जगाती है",
        "मैं जगाता हूँ मरीज़ को", "वह जगाता है मरीज़ को",
        "होटल में बूढ़ा अलमारियों को खोलता है", "बूढ़े होटलों में अलमारी को खोलते हैं",
    ],
}  # fmt: skip
NURSE, OLD_MAN = Said("hospital", 0, 0, 0), Said("luggage", 0, 0, 1)
CLAUSES = [
    Clause(NURSE), Clause(NURSE, subject_plural=True), Clause(NURSE, object_plural=True),
    Clause(NURSE, verb_first=False), Clause(NURSE, pronoun=True, first_person=True), Clause(NURSE, pronoun=True),
    Clause(OLD_MAN, object_plural=True, adjunct=True, adjunct_first=True),
    Clause(OLD_MAN, subject_plural=True, adjunct=True, adjunct_plural=True),
]  # fmt: skip

#: What agrees by rule: of every verb singular, plural and first person, written down by hand as endings.
ENDINGS = {
    "en": (r"s", r"(ss|[^s])", r"(ss|[^s])"),
    "es": (r"[ae]", r"[ae]n", r"o"),
    "fr": (r"(e|t|d)", r"nt", r"(e|s)"),
    "de": (r"t", r"en", r"e"),
    "ru": (r"[еёи]т|ест", r"[уюая]т|едят", r"[уюм]"),
    "tr": (r"[ıiuü]yor", r"[ıiuü]yor", r"[ıiuü]yorum"),
}
IRREGULAR = {"looks for", "look for", "ve", "va", "sieht", "sehen"}

#: Words that stand in several scenes, since they are no words of any.
COMMON = {
    "en": "the in", "es": "el la los las a al en", "fr": "le la les l' dans", "de": "der die das den dem im in auf",
    "ru": "в во на", "tr": "", "hi": "को में पर है हैं हूँ",
}  # fmt: skip


def words(text, lang):
    text = text.lower().replace("'", "' ") if lang == "fr" else text.lower()
    return text.split()


def scene_words(scene, lang):
    """All words of a scene."""
    forms, found = load_forms(lang), set()
    phrases = [form for pair in (*forms.subjects[scene], *forms.objects[scene]) for form in pair]
    phrases += forms.places[scene]
    for verb in forms.verbs[scene]:
        phrases += [form for pair in verb.third.values() for form in pair]
        phrases += [verb.first.removeprefix("je ").removeprefix("j'")]
    for phrase in phrases:
        found |= set(words(phrase, lang))
    return found - set(COMMON[lang].split())


def documents(lang, n, syntax, *, switching=0.0, seed=1):
    return list(
        make_documents(
            lang, n, languages=LANGUAGES, weights=WEIGHTS, code_switching=switching, anchor_affinity=0.5,
            seed=seed, syntax=syntax,
        )
    )  # fmt: skip


def study_of(**changes):
    config = copy.deepcopy(DEMO)
    for corpus in config["corpora"].values():
        corpus["syntax"] = 0.5
    config |= {"generation": {"enabled": False}, "languages": list(SPOKEN)}
    config["concepts"] = {"source": "grammar", "family": "syntax", "ids": list(SYNTAX[:-1])}
    return {**config, **changes}


# ------------------------------------------------------------------------------------ forms


@pytest.mark.parametrize("lang", SPOKEN)
def test_forms_are_those_written_by_hand(lang):
    forms = load_forms(lang)
    for clause, expected in zip(CLAUSES, TRUTH[lang], strict=True):
        if expected is not None:
            assert clause_text(clause, forms) == expected


@pytest.mark.parametrize("lang", SPOKEN)
def test_one_and_many_differ_and_so_do_persons(lang):
    forms = load_forms(lang)
    assert tuple(forms.subjects) == SCENES
    for scene in SCENES:
        assert len(forms.subjects[scene]) == len(forms.verbs[scene]) == len(forms.objects[scene]) == 2
        for one, many in (*forms.subjects[scene], *forms.objects[scene], forms.places[scene]):
            assert one != many
        for verb in forms.verbs[scene]:
            for one, many in verb.third.values():
                # With a subject that is said a Turkish verb is singular; all others agree.
                assert (one == many) == (lang == "tr"), (one, many)
                assert verb.first != one


@pytest.mark.parametrize("lang", ENDINGS)
def test_verbs_end_as_their_subject_asks(lang):
    one_end, many_end, first_end = ENDINGS[lang]
    for verbs in load_forms(lang).verbs.values():
        for verb in verbs:
            ((one, many),) = verb.third.values()
            if one in IRREGULAR:
                continue
            assert re.search(f"({one_end})$", one), one
            assert re.search(f"({many_end})$", many), many
            assert re.search(f"({first_end})$", verb.first), verb.first


def test_hindi_agrees_in_gender_number_and_person():
    for verbs in load_forms("hi").verbs.values():
        for verb in verbs:
            stem = verb.first.removesuffix("ता हूँ")
            assert verb.third == {
                "m": (f"{stem}ता है", f"{stem}ते हैं"), "f": (f"{stem}ती है", f"{stem}ती हैं")
            }  # fmt: skip
    for scene, of in load_forms("hi").subjects.items():
        for (one, many), gender in zip(of, load_forms("hi").genders[scene], strict=True):
            # A plural that looks like the singular could be one of respect.
            assert (one.endswith(("ा", "या")) and many.endswith(("े", "ये"))) == (gender == "m"), (one, many)
            assert many.endswith(("ें", "याँ", "एँ", "े", "ये")), many
    assert all(
        form.endswith(" को") for of in load_forms("hi").objects.values() for pair in of for form in pair
    )


def test_turkish_vowels_are_in_harmony():
    harmony = {**dict.fromkeys("aı", "ı"), **dict.fromkeys("ei", "i"), **dict.fromkeys("ou", "u"),
               **dict.fromkeys("öü", "ü")}  # fmt: skip
    forms = load_forms("tr")
    vowel = re.compile("[aıoueiöü]")
    for scene in SCENES:
        for one, many in forms.subjects[scene]:
            back = vowel.findall(one)[-1] in "aıou"
            assert many == one + ("lar" if back else "ler")
        for one, many in forms.objects[scene]:
            *_, before, last = vowel.findall(one)
            assert last == one[-1] == harmony[before], one
            assert re.search("ları$" if before in "aıou" else "leri$", many), many
        one, many = forms.places[scene]
        back = vowel.findall(one)[-2] in "aıou"
        assert re.search("[dt]a$" if back else "[dt]e$", one), one
        assert many.endswith("larda" if back else "lerde"), many


def test_german_and_russian_tell_the_subject_in_either_order():
    """German objects are masculine, so that a singular one is marked; Russian subjects live."""
    for of in load_forms("de").objects.values():
        assert all(one.startswith("den ") and many.startswith("die ") for one, many in of)
    for of in load_forms("de").subjects.values():
        assert all(re.match("d(er|ie|as) ", one) and many.startswith("die ") for one, many in of)
    inanimate_alike = {"плуг", "якорь", "чемодан", "шкаф", "яблоко"}
    alike = {
        one
        for of in load_forms("ru").objects.values()
        for one, _ in of
        if not one.endswith(("у", "ю", "а", "я"))
    }
    assert alike == inanimate_alike


@pytest.mark.parametrize("lang", SPOKEN)
def test_no_scene_has_a_word_of_another(lang):
    owner = {}
    for scene in SCENES:
        for word in scene_words(scene, lang):
            assert owner.setdefault(word, scene) == scene, word


def test_languages_have_what_their_forms_show():
    assert concepts_of("zh") == ()
    assert not has_forms("zh")
    for lang in SPOKEN:
        assert concepts_of(lang) == (SYNTAX if lang in WITH_ORDER else SYNTAX[:-1])
    with pytest.raises(ValueError, match=r"language 'zh' shows no number; these have clauses: en, es"):
        load_forms("zh")
    with pytest.raises(ValueError, match="language 'xx' is not known"):
        load_forms("xx")
    with pytest.raises(ValueError, match=r"verb_before_object is not shown by clauses of language 'en'"):
        make_sentences("en", per_concept=4, seed=1, concepts=["verb_before_object"])


# ------------------------------------------------------------------------------------ pairs


def pairs_of(lang, concept, n=40, seed=1):
    made = make_sentences(lang, per_concept=n, seed=seed, concepts=[concept])
    assert [each.sentence_id for each in made] == [
        f"{concept}{label}-{number:04d}" for number in range(n) for label in ("", "-neg")
    ]
    return list(zip(made[::2], made[1::2], strict=True))


def lowered(text):
    return text.replace("İ", "i").lower()


def bag(text):
    return sorted(re.sub(r"[.:,।]", " ", lowered(text)).replace("'", "' ").split())


@pytest.mark.parametrize("lang", SPOKEN)
def test_pairs_differ_in_nothing_but_the_concept(lang):
    forms = load_forms(lang)
    for concept in concepts_of(lang):
        clauses = choose_pairs(concept, 40, prefixes=list(PREFIXES), seed=1)
        for (positive, negative), (clause, other, _) in zip(pairs_of(lang, concept), clauses, strict=True):
            assert clause.said == other.said
            assert positive.text != negative.text
            assert re.findall(r"\d+|[A-Z]{3,}", positive.text) == re.findall(r"\d+|[A-Z]{3,}", negative.text)
            # What is said is there, in the form that the concept asks for, by the lexicon and not by the code.
            scene, subject, verb, object_ = clause.said
            low, low_other = lowered(positive.text), lowered(negative.text)
            if concept in ("verb_before_object", "fronted_adjunct"):
                assert bag(positive.text) == bag(negative.text)
            if concept == "verb_before_object":
                third = forms.verbs[scene][verb].third[forms.genders[scene][subject]]
                said = third[clause.subject_plural].lower()
                obj = forms.objects[scene][object_][clause.object_plural].lower()
                assert low.index(said) < low.index(obj)
                assert low_other.index(said) > low_other.index(obj)
            if concept == "fronted_adjunct":
                place = forms.places[scene][clause.adjunct_plural].lower()
                obj = forms.objects[scene][object_][clause.object_plural].lower()
                subj = forms.subjects[scene][subject][clause.subject_plural].lower()
                assert low.index(place) < low.index(subj)
                assert low_other.index(place) > low_other.index(subj)
            for name, of in (
                ("plural_subject", forms.subjects[scene][subject]),
                ("plural_object", forms.objects[scene][object_]),
                ("plural_adjunct", forms.places[scene]),
            ):
                if name == concept:
                    one, many = (form.lower() for form in of)
                    assert many in low
                    # All else is the same: but for the verb, if it agrees.
                    if name != "plural_subject":
                        assert low.replace(many, "#") == re.sub(f"{re.escape(one)}(?!\\w)", "#", low_other)
            if concept == "plural_subject":
                third = forms.verbs[scene][verb].third[forms.genders[scene][subject]]
                one, many = (form.lower() for form in forms.subjects[scene][subject])
                told = low.replace(many, "#", 1).replace(third[1].lower(), "@", 1)
                assert told == low_other.replace(one, "#", 1).replace(third[0].lower(), "@", 1)


@pytest.mark.parametrize("lang", SPOKEN)
def test_no_sentence_stands_twice(lang):
    made = make_sentences(lang, per_concept=80, seed=1, concepts=concepts_of(lang))
    assert len({each.text for each in made}) == len(made) == 160 * len(concepts_of(lang))
    for each in made:
        assert each.text[-1] == load_lexicon(lang).frames["fact"][-1]
        assert not re.search(r"[/|{}]|  ", each.text), each.text
        first = next(c for c in each.text if c.isalpha())
        assert not (first.islower() and first.upper() != first), each.text


def test_sentences_are_parallel_and_do_not_depend_on_what_else_is_asked_for():
    ids = [each.sentence_id for each in make_sentences("de", per_concept=40, seed=3, concepts=SYNTAX[:-1])]
    for lang in SPOKEN:
        made = make_sentences(lang, per_concept=40, seed=3, concepts=SYNTAX[:-1])
        assert [each.sentence_id for each in made] == ids
        alone = make_sentences(lang, per_concept=20, seed=3, concepts=["plural_object"])
        assert alone == [each for each in made if each.concept == "plural_object"][:40]
        assert made == make_sentences(lang, per_concept=40, seed=3, concepts=SYNTAX[:-1])
    assert make_sentences("de", per_concept=40, seed=4, concepts=SYNTAX[:-1]) != make_sentences(
        "de", per_concept=40, seed=3, concepts=SYNTAX[:-1]
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_feature_beside_the_concept_is_in_both_halves_of_its_pairs(seed):
    """So that no other feature tells it: both sides of a pair have all the others alike."""
    for concept in SYNTAX:
        pairs = choose_pairs(concept, 40, prefixes=list(PREFIXES), seed=seed)
        for half in range(2):
            of_half = pairs[half::2]
            assert {clause.said.scene for clause, _, _ in of_half}.isdisjoint(
                clause.said.scene for clause, _, _ in pairs[1 - half :: 2]
            )
            for name in ("subject_plural", "object_plural", "verb_first", "adjunct", "adjunct_first"):
                own = {getattr(clause, name) for clause, _, _ in of_half}
                others = {getattr(other, name) for _, other, _ in of_half}
                if len(own) == 1 and name != "adjunct":
                    continue  # the feature itself, or one that the concept's clauses do not have
                assert own == others
    for concept in ("plural_subject", "plural_object", "plural_adjunct", "first_person_subject"):
        clauses = [clause for clause, _, _ in choose_pairs(concept, 40, prefixes=list(PREFIXES), seed=seed)]
        assert {clause.adjunct_first for clause in clauses if clause.adjunct} == {True, False}
        if concept != "plural_adjunct":
            assert {clause.verb_first for clause in clauses if not clause.adjunct} == {True, False}


def test_two_plurals_never_stand_before_their_verb():
    """German could not tell which of them is the subject."""
    every = [
        each for concept in SYNTAX for pair in choose_pairs(concept, 80, prefixes=list(PREFIXES), seed=2)
        for each in pair[:2]
    ]  # fmt: skip
    rng = random.Random(0)
    every += [draw_clause(rng, draw_style(rng)) for _ in range(2000)]
    for clause in every:
        both = clause.subject_plural and clause.object_plural and not clause.pronoun and not clause.adjunct
        assert clause.verb_first or not both


@pytest.mark.parametrize("lang", SPOKEN)
def test_halves_share_no_word_of_a_scene(lang):
    known = {word: scene for scene in SCENES for word in scene_words(scene, lang)}
    for concept in concepts_of(lang):
        halves = [set(), set()]
        for number, pair in enumerate(pairs_of(lang, concept)):
            for sentence in pair:
                halves[number % 2] |= set(bag(sentence.text)) & set(known)
        assert halves[0]
        assert halves[1]
        assert not halves[0] & halves[1]


def test_too_many_pairs_are_refused():
    with pytest.raises(
        ValueError, match=r"verb_before_object has 90 pairs of sentences; got per_concept 100"
    ):
        make_sentences("de", per_concept=100, seed=1, concepts=["verb_before_object"])


# ------------------------------------------------------------------------------------ documents


def test_documents_never_say_what_is_analysed():
    rng = random.Random(1)
    kept = {said for scene in SCENES for said in things_said(scene)[1]}
    for _ in range(3000):
        clause = draw_clause(rng, draw_style(rng))
        alike = {said for said in kept if said[2:] == clause.said[2:] and said.scene == clause.said.scene}
        assert not (alike if clause.pronoun else alike & {clause.said})
    written = " ".join(documents("de", 3000, 1.0)).lower()
    for concept in SYNTAX:
        for pair in pairs_of("de", concept):
            for sentence in pair:
                core = sentence.text.split(": ")[-1].lower()
                assert not re.search(rf"(?<!\w){re.escape(core)}", written), core


def test_documents_have_as_many_clauses_as_asked():
    for lang in SPOKEN:
        known = set().union(*(scene_words(scene, lang) for scene in SCENES)) - {"the"}
        usual = set().union(*(set(bag(text)) for text in documents(lang, 400, 0.0)))
        telling = known - usual
        hits = [bool(telling & set(bag(text))) for text in documents(lang, 400, 0.5)]
        assert sum(hits) / len(hits) > 0.8, lang  # 1 - 0.5 ** 4 = 0.94 have one, if its words tell
    chinese = " ".join(documents("zh", 300, 1.0))
    assert not re.search("[a-zа-яёऀ-ॿ]", re.sub("[A-Za-z]+", "", chinese.replace("IKEA", "")))


def test_documents_depend_on_their_number_alone_and_speak_on_of_the_same():
    assert documents("en", 6, 0.5, switching=0.4)[:3] == documents("en", 3, 0.5, switching=0.4)
    rng, same = random.Random(5), []
    for _ in range(4000):
        style = draw_style(rng)
        first, second = draw_clause(rng, style), draw_clause(rng, style)
        assert first.said.scene == second.said.scene
        same.append(first.subject_plural == second.subject_plural)
    # Each clause keeps to the style with 0.75 + 0.25 / 2.
    assert sum(same) / len(same) == pytest.approx(0.875**2 + 0.125**2, abs=0.02)


#: Of the demo's first 200 documents of each language, its sentences, and its labels and words: made before
#: there were concepts of form.
BEFORE = {
    "bridged": "22d46fd0e6483e07a1cc2405da829f5530b5344c96643cf68820e8753167a036",
    "isolated": "399a7c9d27317bfcbe3775361994f07df6bac3ce83d30acc5ec61c82a8825488",
    "sentences": "6bdf2f16acebe0a6f5d147f475507e4b44d7815441f5929e68aad6943e30bac8",
    "concepts": "fc432bcfd44c47f8103b1a0379e08211d4a005a2644bbbd8ae127bf15ad13911",
}


def test_text_and_concepts_of_the_demo_are_as_they_were(tmp_path):
    study = load_study(copy.deepcopy(DEMO))
    out = tmp_path / "out"
    found = {}
    for name, corpus in study.corpora.items():
        digest = hashlib.sha256()
        for lang in corpus.languages:
            make_documents_file(
                lang, out, documents=200, languages=corpus.languages, weights=study.language_shares(name),
                code_switching=corpus.code_switching, anchor_affinity=corpus.anchor_affinity,
                heldout=corpus.heldout, seed=study.seed,
            )  # fmt: skip
            digest.update(out.read_bytes())
        found[name] = digest.hexdigest()
    sentences, concepts = hashlib.sha256(), hashlib.sha256()
    for lang in study.languages:
        labelled(study, lang, out, tmp_path / "labels")
        sentences.update(out.read_bytes())
        concepts.update((tmp_path / "labels").read_bytes())
    write_concept_words("grammar", out, words={}, concepts=study.concept_ids, languages=study.languages)
    concepts.update(out.read_bytes())
    assert found | {"sentences": sentences.hexdigest(), "concepts": concepts.hexdigest()} == BEFORE
    # No job of the demo has a parameter that it did not have, so nothing is computed again.
    assert "syntax" not in study.config["corpora"]["bridged"]
    assert "family" not in study.config["concepts"]


# ------------------------------------------------------------------------------------ a study


def labelled(study, lang, out: Path, labels: Path):
    prepare_sentences(
        "grammar", lang, out, text=None, files=[], concepts=study.concept_ids,
        per_concept=study.sentences.per_concept, duplicates="error", seed=study.seed,
    )  # fmt: skip
    label_sentences("grammar", out, labels, label_text=None, words={}, files=[])


def test_a_concept_is_labelled_by_its_own_pairs(tmp_path):
    study = load_study(
        study_of(languages=list(WITH_ORDER), concepts={"source": "grammar", "family": "syntax"})
    )
    assert study.concept_ids == SYNTAX
    seen = set()
    for lang in WITH_ORDER:
        labelled(study, lang, tmp_path / "s.tsv", tmp_path / "c.tsv")
        rows = read_tsv(tmp_path / "c.tsv")
        assert list(dict.fromkeys(row["concept"] for row in rows)) == list(SYNTAX)
        for concept in SYNTAX:
            own = [row for row in rows if row["concept"] == concept]
            assert len(own) == 80
            for row in own:
                name, _, number = row["sentence_id"].rpartition("-")
                assert row["label"] == str(int(name == concept))
                assert name in (concept, f"{concept}-neg")
                assert row["half"] == "ab"[int(number) % 2]
                assert (row["words"], row["word_group"]) == ("", "0")
        seen.add((tmp_path / "c.tsv").read_text())
    assert len(seen) == 1, "labels are the same in all languages"


def test_no_words_of_a_concept_of_form_are_looked_for():
    found = words_of_concepts("grammar", words={}, concepts=SYNTAX, languages=["en", "de"])
    assert found == {concept: {} for concept in SYNTAX}


def test_planning_counts_the_pairs():
    study = load_study(study_of())
    assert "5 concepts, 7 languages, 20 of 512 units; 20 positive and 20 negative" in sensitivity_text(study)
    tables = look_at_concepts(study)
    assert set(tables.counts["n_positive"]) == set(tables.counts["n_negative"]) == {40}
    assert CostModel(study)._text("en").sentences == len(tables.counts[tables.counts["lang"] == "en"]) * 80
    assert not [text for text in study.warnings if "syntax" in text]


def test_models_that_never_met_the_forms_are_warned_of():
    config = study_of()
    del config["corpora"]["isolated"]["syntax"]
    said = [text for text in load_study(config).warnings if "syntax" in text]
    assert said == [
        "corpora.isolated: its subjects are all singular, since its `syntax` is 0, so isolated meets the forms "
        "of concepts of family syntax in analysis only"
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"concepts": {"source": "grammar", "family": "syntax"}},
            "the form does not tell verb_before_object in en, es, fr. Leave out",
        ),
        (
            {"concepts": {"source": "grammar", "family": "syntax"}},
            "concepts that the clauses of every language show: plural_subject, plural_object, plural_adjunct, "
            "first_person_subject, fronted_adjunct",
        ),
        ({"languages": [*SPOKEN, "zh"]}, "the form does not tell plural_subject in zh; plural_object in zh"),
        (
            {"concepts": {"source": "grammar", "family": "syntax", "ids": ["plural_subjects", "plural_object"]}},
            "did you mean `plural_subject`?",
        ),
        ({"concepts": {"source": "grammar", "family": "syntax", "ids": ["house", "water"]}}, "got 'house'"),
        ({"concepts": {"source": "grammar", "ids": ["house", "plural_subject"]}}, "got 'plural_subject'"),
        ({"concepts": {"source": "grammar", "family": "form"}}, "concepts.family"),
        (
            {
                "languages": list(WITH_ORDER), "sentences": {"source": "grammar", "per_concept": 100},
                "concepts": {"source": "grammar", "family": "syntax"},
            },
            "verb_before_object has 90 pairs of sentences; got per_concept 100",
        ),
    ],
)  # fmt: skip
def test_planning_refuses_what_languages_cannot_show(changes, message):
    with pytest.raises(StudyError) as caught:
        load_study(study_of(**changes))
    assert message in str(caught.value)


def test_a_clone_shows_what_its_original_shows():
    probes = {**DEMO["probes"], "anchor_min_languages": 2}
    config = study_of(languages=["en", "en2", "de"], clones={"en2": "en"}, probes=probes)
    config["corpora"] = {
        name: {**of, "languages": ["en", "en2", "de"]} for name, of in config["corpora"].items()
    }
    assert load_study(config).concept_ids == SYNTAX[:-1]
    config["concepts"] = {"source": "grammar", "family": "syntax"}
    with pytest.raises(StudyError, match="verb_before_object in en, en2"):
        load_study(config)
