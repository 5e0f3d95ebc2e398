"""Settings of text: corpora to train on, tokenizers, the sentences that are analysed and their concepts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from babelscope.settings import AS_GIVEN, UNSET, Name, Names, Settings, Share, Template, Text


class _Corpus(Settings):
    source: str
    languages: Names = ()
    """Languages of the corpus; the study's if not given. Name them, so that a language can be analysed later
    without training again."""
    heldout: Annotated[float, Field(gt=0, le=0.5), AS_GIVEN] = 0.01
    """Share of documents kept for the held-out loss; a larger one measures it better and leaves less to train
    on."""


class GrammarCorpus(_Corpus):
    """Text that the grammar of the package writes."""

    source: Literal["grammar"]
    documents: int = Field(ge=100)
    """Number of documents, of all languages together."""
    weights: dict[Any, Share] = Field(default_factory=dict)
    """Share of documents of the languages named; the others share the rest equally."""
    code_switching: Share = 0
    """Probability that a sentence is written in another language; a larger one mixes languages more."""
    anchor_affinity: Share = 0
    """Probability that a name or number is the concept's own instead of any; a larger one gives languages
    more in common."""
    syntax: Annotated[Share, UNSET] = 0
    """Probability that a sentence is a clause in which number, person and order vary, as models need it
    for the concepts of family syntax; 0, if not given: subjects are singular. Chinese, which shows no number,
    has no such clauses."""


class _GivenText(_Corpus):
    path: Template
    """File of a language; of a data set, its file, folder or name. With {lang} and maybe {data}."""
    temperature: Share = 1
    """A language is drawn in proportion to its size to this power; 1: as it comes, 0: all alike."""


class TextCorpus(_GivenText):
    """Files, a document a line."""

    source: Literal["text"]


class DatasetCorpus(_GivenText):
    """Read by the library `datasets`, from local files, folders or the hub's cache."""

    source: Literal["dataset"]
    name: Template = ""
    """Its configuration, maybe with {lang}."""
    split: str = "train"
    """Its split."""
    column: str = "text"
    """The column that holds the text."""


Corpus = Annotated[GrammarCorpus | TextCorpus | DatasetCorpus, Field(discriminator="source")]


class TokenizerSettings(Settings):
    """A tokenizer that is trained here."""

    corpus: Name
    """Corpus that it is trained on."""
    vocabulary_size: int = Field(ge=300, le=1_000_000)
    """Number of pieces; more make texts shorter and the embeddings larger."""


_PER_CONCEPT = 40


class _Sentences(Settings):
    source: str


class _GivenSentences(_Sentences):
    per_concept: ClassVar[int] = _PER_CONCEPT
    duplicates: Literal["error", "keep_first"] = "error"
    """A sentence that stands twice in one file: an error, or only its first line is kept. One that stands in
    two concept files is an error in any case."""
    groups: Template | None = None
    """Text file whose line i names the group of sentence i, such as its document, in all languages alike.
    Halves of the sentences, and the parts of a probe, are then of whole groups. With {data}; of concept files
    with {concept} and {label}."""


class GrammarSentences(_Sentences):
    """Written by the grammar, each once."""

    source: Literal["grammar"]
    per_concept: Annotated[int, Field(ge=4, le=100)] = _PER_CONCEPT
    """Sentences of a concept, and of family syntax as many negative ones; more measure its experts better."""
    duplicates: ClassVar[str] = "error"
    groups: ClassVar[str | None] = None


class ParallelSentences(_GivenSentences):
    """Line i is the same sentence in every file."""

    source: Literal["parallel"]
    path: Template
    """File of a language, with {lang} and maybe {data}."""


class ConceptSentences(_GivenSentences):
    """The sentences of the concept files."""

    source: Literal["concepts"]


Sentences = Annotated[GrammarSentences | ParallelSentences | ConceptSentences, Field(discriminator="source")]


class _Concepts(Settings):
    source: str
    ids: Names = ()
    """The concepts; all that the source knows if not given."""
    min_positive: Annotated[int, Field(ge=4)] = 20
    """Positive sentences that every concept needs in every language; a larger number refuses more."""
    groups: dict[Name, Annotated[Names, Field(min_length=2)]] = Field(default_factory=dict)
    """Concepts that are near each other, such as `animals: [dog, cat]`: overlap stands beside what members of
    a group share. Without it each concept is compared with its nearest by its experts."""


class GrammarConcepts(_Concepts):
    """The concepts of the grammar, known for every sentence."""

    source: Literal["grammar"]
    family: Annotated[Literal["meaning", "syntax"], UNSET] = "meaning"
    """What the concepts are: of meaning, such as `house` (if not given), or of form, such as `plural_subject`
    (docs/methods.md has them), with negative sentences that differ in nothing else. A language must show all
    that the study has."""
    label_language: ClassVar[str] = ""


class WordConcepts(_Concepts):
    """A line that has one of the words in label_language is positive in all languages."""

    source: Literal["words"]
    label_language: Name
    """Language of the word lists."""
    lists: Template
    """YAML file, per concept a list of words in label_language, or lists by language; or with {lang} a file
    of lists per language. Words of other languages label nothing; they are looked for in generated text."""


class Columns(Settings):
    """Columns of a labelled table."""

    text: Annotated[str, Field(min_length=1)] = "text"
    """The column of the sentences."""
    label: Annotated[str, Field(min_length=1)] = "label"
    """The column of the labels, each of which is a concept."""
    lang: str = ""
    """The column of the languages, where one table holds several; none if the path has {lang}."""


class FileConcepts(_Concepts):
    """A file of positive sentences per concept and language."""

    source: Literal["files"]
    path: Template
    """With {concept}, {lang} and {label} (positive, negative; not of JSON), and maybe {data} and {group}, any
    folder; of a labelled table with {lang}, unless a column has the languages."""
    columns: Columns | None = None
    """Columns of a labelled table (.tsv, .csv, .jsonl, .parquet), of which each label is a concept."""
    lists: Text = ""
    """YAML file, per concept lists of words by language; or with {lang} a file of lists per language. They
    are looked for in generated text; without them it is judged by its language alone."""
    label_language: ClassVar[str] = ""


Concepts = Annotated[GrammarConcepts | WordConcepts | FileConcepts, Field(discriminator="source")]
