"""Settings of the analysis: probes, experts and their alignment, traces, generation, the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from babelscope.capture.settings import Sites
from babelscope.errors import StudyError
from babelscope.settings import AS_GIVEN, EACH_ONCE, LIST, Count, Positive, Settings, Step, kind_of

#: Resamples and permutations of a choice (:mod:`babelscope.analysis.choices`), at most: there are many.
CHOICE_DRAWS = 200

_Resamples = Annotated[int, Field(ge=20)]
_BetweenNoneAndAll = Annotated[float, Field(gt=0, lt=1), AS_GIVEN]


def _text_or_number(value: Any) -> str:
    return "a number" if type(value) in (int, float) else kind_of(value)


_AutoOrPositive = Annotated[
    Annotated[Literal["auto"], Tag("text")] | Annotated[Positive, Tag("a number")],
    Discriminator(_text_or_number),
]


class Probes(Settings):
    """How language probes are fitted and scored, as a study says it."""

    section: ClassVar[str] = "probes"
    renamed: ClassVar[Mapping[str, str]] = {"l2_c": "c"}

    c: _AutoOrPositive = "auto"
    """Inverse strength of the L2 penalty; a larger one fits closer. auto: chosen within the training part."""
    components: Count = 8
    """Leading principal components of the small probe; more tell it more."""
    tokens_per_language: Annotated[int, Field(ge=20)] | None = None
    """Tokens of a probe, training and test; more are steadier and slower. All that are kept if not given."""
    test_share: _BetweenNoneAndAll = 0.3
    """Share of sentences that are tested on; a larger one leaves less to train on."""
    seeds: Count = 3
    """Number of random samples and splits; more are steadier and slower."""
    anchor_min_languages: Annotated[int, Field(ge=2)] = 2
    """A token is an anchor if it occurs in so many languages; a larger number finds fewer."""
    bootstrap: _Resamples = 200
    """Resamples for an interval; more are smoother and slower."""
    max_iter: Annotated[int, Field(ge=10)] = 500
    """Most iterations of the fit; more let it converge. Reaching it is logged."""


class ProbeSettings(Probes):
    """The same, with the seed of the study."""

    seed: Annotated[int, Field(ge=0)] = 0
    """First random seed; the splits use it and those that follow."""


class _Experts(Settings):
    k: Count | None = None
    """Experts of a concept in a language; more take in units of lower precision."""
    share: Annotated[float, Field(gt=0, le=0.5), AS_GIVEN] | None = None
    """The same as a share of the units."""
    min_languages: Annotated[int, Field(ge=2)] = 3
    """Units that are experts in so many languages are traced; at most all. A larger number traces fewer."""
    max_traced_units: Count = 200
    """Most units that are traced; more make tables larger."""
    kept: Count = 1000
    """Best units that are kept of every concept, language and half of its sentences; any `k` up to it can be
    asked for later without the model. More take more space."""
    block_units: Count = 256
    """Units scored at a time; more need more memory."""


class _Resampling(Settings):
    bootstrap: _Resamples = 500
    """Resamples for an interval; more are smoother and slower."""
    permutations: _Resamples = 500
    """Permutations for a p-value or a null; more resolve smaller ones, and are slower."""


class AlignmentSettings(_Resampling):
    """How intervals and nulls are computed."""

    section: ClassVar[str] = "experts"

    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed."""


class ExpertSettings(_Resampling, _Experts):
    """Which units are experts, and which of them are traced."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["k"]}, {"required": ["share"]}]})
    section: ClassVar[str] = "experts"

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        given = {name: getattr(self, name) for name in ("k", "share") if getattr(self, name) is not None}
        if len(given) != 1:
            raise StudyError("", given, "exactly one of k, share")
        return self


class TraceSettings(Settings):
    """What chosen units do on every token of a few sentences, over training."""

    section: ClassVar[str] = "traces"

    enabled: bool = True
    """Whether units are traced."""
    controls: bool = False
    """Whether those of controls (`role: control`) are, too; it costs as much again."""
    units: Annotated[tuple[str, ...], LIST, *EACH_ONCE] = ()
    """Units that are traced in any case, such as L03.mlp_act.117; a model that lacks one goes without it."""
    max_units: Count = 40
    """Most units that are traced of a model: those named, the best of each concept, those with a life line.
    More take more space."""
    steps: Annotated[
        Annotated[int, Field(ge=2), Tag("a whole number")]
        | Annotated[tuple[Step, ...], LIST, Field(min_length=1), *EACH_ONCE, Tag("a list")],
        Discriminator(kind_of),
    ] = 5
    """Steps that are traced, as a number of them (from the first to the last, evenly spread over the
    model's list) or a list."""
    strongest: Count = 4
    """Sentences of each unit and language on which it is strongest."""
    random: Annotated[int, Field(ge=0)] = 2
    """Sentences that are drawn at random, to be seen beside them; more show better what is usual."""
    lowest: Annotated[int, Field(ge=0)] = 1
    """Sentences on which it is lowest."""

    @property
    def sentences(self) -> int:
        """Sentences of a unit and language."""
        return self.strongest + self.random + self.lowest


class Sampling(Settings):
    """How texts are drawn."""

    section: ClassVar[str] = "generation"

    samples: Count = 16
    """Texts per language and concept; more are steadier and slower."""
    seeds: Count = 1
    """Seeds of sampling; each gives as many samples."""
    max_new_tokens: Count = 24
    """Length of a text; a larger one takes longer."""
    temperature: Annotated[float, Field(ge=0), AS_GIVEN] = 0.8
    """Of sampling; a larger one makes texts more varied, 0 takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1), AS_GIVEN] = 0.95
    """Of nucleus sampling; a larger one lets in rarer tokens."""
    batch_size: Count = 256
    """Texts at a time; more are faster on a GPU, and need more memory."""


class GenerationSettings(Sampling):
    """How texts are drawn while experts are forced."""

    k: Count
    """Experts that are forced, those of highest average precision."""
    sites: Sites = ()
    """Sites whose experts are forced; all if not given."""


class ViewSettings(Settings):
    """Views behind the four findings, each of which can be switched on and off."""

    section: ClassVar[str] = "views"

    onset: bool = True
    """Whether it is told when competence comes, and when sharing: the step of half-rise of each."""
    left_out: bool = True
    """Whether units that are chosen in some languages are tested in those that were left out."""
    representations: bool = True
    """Whether the states of parallel sentences are compared: retrieval, neighbours, CKA."""
    confounds: bool = False
    """Whether length, spelling, frequency and corpus share are measured beside expertise, and what languages
    share is regressed on what they have in common outside the models."""
    language_units: bool = False
    """Whether units are looked for that tell a language, whatever is said: by expertise, and neurons by LAPE.
    It runs the models once more and needs sentences that are translations of each other."""
    ablation: bool = False
    """Whether the experts of a concept are set to their mean, and the loss on its sentences is compared in
    every language. It runs the models once more."""
    ablated_concepts: Count = 8
    """Concepts whose experts are ablated, the first by name; all if there are fewer. More take longer."""
    ablated_sentences: Count = 16
    """Sentences of a concept and language on which the loss is measured; more are steadier and slower."""
    patching: bool = False
    """Whether what a concept's experts do in a sentence of one language is put into a sentence of another
    concept and language, and the words that may follow are compared. It runs the models once more and needs
    the words of concepts in every language."""
    patched_concepts: Annotated[int, Field(ge=2)] = 8
    """Concepts that are patched, the first by name; all if there are fewer. Two and two are patched with each
    other, an odd one is left out. More give narrower intervals and take longer."""
    patched_sentences: Count = 8
    """Sentences of a concept and language that are patched; more are steadier and slower."""
    steps: Annotated[int, Field(ge=1)] = 5
    """Steps of a model, from the first to the last and evenly spread over its list, at which views are taken
    that read much: `left_out`, `representations`, `language_units`, `ablation` and `patching`. More show more
    and take longer."""


class AuditSettings(Settings):
    """The audit of every checkpoint. Its thresholds are in docs/methods.md."""

    section: ClassVar[str] = "audit"

    sentences: Annotated[int, Field(ge=8)] = 200
    """Sentences of a language whose loss is measured; more are steadier and slower."""
