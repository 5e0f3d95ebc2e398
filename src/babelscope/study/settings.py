"""Settings that the study alone has: its models, which texts are written, the report, how jobs are cut."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from babelscope.analysis.settings import Sampling
from babelscope.capture.settings import ComputeType, Sites
from babelscope.errors import StudyError
from babelscope.models.dictionaries import DictionarySettings
from babelscope.models.training.settings import TrainingSettings
from babelscope.settings import (
    AS_GIVEN,
    EACH_ONCE,
    LIST,
    UNSET,
    Count,
    Name,
    Names,
    Positive,
    Settings,
    Step,
    StepKey,
    Template,
    Text,
    kind_of,
)


class StepRule(Settings):
    """A rule that gives steps."""

    powers_of_two: Annotated[tuple[Count, Count], LIST] | None = None
    """[first, last]: the powers of two from first to last."""
    every: Count | None = None
    """A step at every multiple of this number; a larger one gives fewer."""
    until: Count | None = None
    """The last step that `every` reaches."""
    also: Annotated[tuple[Step, ...], LIST] = ()
    """Further steps, such as [0]."""


_Item = Annotated[
    Annotated[Step, Tag("a whole number")]
    | Annotated[tuple[Step, ...], LIST, Field(min_length=1), Tag("a list")],
    Discriminator(kind_of),
]
StepList = Annotated[tuple[_Item, ...], LIST, Field(min_length=1), Tag("a list")]
Steps = Annotated[
    Annotated[Literal["all"], Tag("text")] | StepList | Annotated[StepRule, Tag("a mapping")],
    Discriminator(kind_of),
]


Tokens = Annotated[dict[StepKey, Annotated[int, Field(ge=0)]], Field(min_length=1), UNSET]
Places = Annotated[dict[StepKey, str], Field(min_length=1), UNSET]


class ModelEntry(Settings):
    """What every model of a study says."""

    source: str
    role: Literal["main", "control"] = "main"
    """control: a negative control, drawn beside the main models."""
    steps: Steps
    """Training steps, increasing: a list, in which an inner list is done by one job, or a rule, or `all`
    (hub: of the suite; local: whose folders are there)."""
    dose: Annotated[float, Field(ge=0), AS_GIVEN] | None = None
    """How much of what ties languages together it was trained with, such as its share of switched sentences.
    Where models have one, a figure shows sharing by dose."""
    compute_dtype: ComputeType | None = None
    """Instead of extraction.compute_dtype for this model."""
    batch_size: Count | None = None
    """Instead of extraction.batch_size for this model."""
    prefix: Text | None = None
    """Instead of extraction.prefix for this model."""
    dictionaries: Annotated[dict[Name, DictionarySettings], UNSET] = Field(default_factory=dict)
    """Sparse autoencoders or transcoders, by name: sites whose units are their latents."""


class PretrainEntry(ModelEntry):
    """Trained here; its runs are named `NAME-seedSEED` in results."""

    source: Literal["pretrain"]
    corpus: Name
    """Corpus that it is trained on."""
    tokenizer: Name
    """Its tokenizer."""
    architecture: str
    """Model type of transformers."""
    architecture_config: dict[str, Any] = Field(default_factory=dict)
    """Settings of its config class, such as d_model; the vocabulary is the tokenizer's."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], LIST, Field(min_length=1), *EACH_ONCE] = (0,)
    """A run for each."""
    training: TrainingSettings
    """How it is trained."""


class _Series(ModelEntry):
    random_baseline: bool = False
    """Add step 0, a checkpoint of the same sizes with random weights, where a series has none."""


class Counted(Settings):
    """How far each step is."""

    tokens_per_step: Positive | None = None
    """Training tokens of a step, for an axis of tokens seen."""
    tokens: Tokens = Field(default_factory=dict)
    """Tokens seen at a step, where they are not proportional to it."""


class HubKeys(Counted):
    """Where the steps of a series lie on the hub, and what they are."""

    repo: Annotated[Template, UNSET] = ""
    """Repository, such as EleutherAI/pythia-70m; with {step} if each step has its own."""
    repos: Places = Field(default_factory=dict)
    """Repository of each step, where no template gives it."""
    revision: Annotated[Template, UNSET] = ""
    """Tag, branch or commit, such as step{step} or step{step:07d}; main if not given."""
    revisions: Places = Field(default_factory=dict)
    """Revision of each step, where no template gives it."""
    subfolder: Annotated[Template, UNSET] = ""
    """Folder in the repository, maybe with {step}."""
    tokenizer_repo: Text = ""
    """Repository of the tokenizer; that of the weights if not given."""
    tokenizer_revision: Text = ""
    """Revision of the tokenizer; main, or that of the weights, if not given."""
    architecture: Text = ""
    """Model type of transformers."""
    architecture_config: dict[str, Any] = Field(default_factory=dict)
    """The sizes, since jobs are planned before anything is fetched; `babelscope hub REPO` prints them."""
    languages: Names = ()
    """Codes (BCP 47) of the languages that it was trained on."""
    licence: Text = ""
    """SPDX name of its licence, or the hub's."""


class HubEntry(HubKeys, _Series):
    """Fetched from the Hugging Face hub."""

    source: Literal["hub"]
    suite: Text = ""
    """An entry of docs/suites.md, which says the other keys; those given beside it win."""


class LocalEntry(Counted, _Series):
    """A Hugging Face folder per step."""

    source: Literal["local"]
    path: Template
    """Folder of a checkpoint, with {step} and maybe {data}."""
    tokenizer_path: Annotated[Template, UNSET] = ""
    """Folder of the tokenizer; the checkpoint's if not given."""


Entry = Annotated[PretrainEntry | HubEntry | LocalEntry, Field(discriminator="source")]


class StudyGeneration(Sampling):
    """What a model writes with its experts forced."""

    enabled: bool = True
    """Whether text is generated at all; none is where the study does not mention generation."""
    steps: Annotated[tuple[Step, ...], LIST, Field(min_length=1), *EACH_ONCE] | None = None
    """Steps that write; all of the model if not given."""
    languages: Names = ()
    """Languages whose experts are forced; all if not given."""
    k: Count | None = None
    """Units that are forced, those of highest average precision; as many as experts if not given."""
    sites: Sites = ()
    """Sites at which units are forced, of extraction.sites; all of them if not given. A concept that has
    fewer than `k` there among its best (`experts.kept`) has all of these forced."""
    concepts: (
        Annotated[
            Annotated[Count, Tag("a whole number")] | Annotated[Names, Tag("a list")], Discriminator(kind_of)
        ]
        | None
    ) = None
    """Concepts whose experts are forced, as a number of them (the first by name) or a list; all if not
    given."""


class Style(Settings):
    """Look of the figures."""

    palette: str = "colorblind"
    """A seaborn palette."""
    context: Literal["paper", "notebook", "talk", "poster"] = "notebook"
    """A seaborn context; a later one has larger marks and letters."""
    font_scale: Positive = 1
    """Factor on font sizes."""
    dpi: Annotated[int, Field(ge=50)] = 150
    """Dots per inch of PNG files; more are sharper and larger."""


def _with_svg(formats: tuple[str, ...]) -> tuple[str, ...]:
    if "svg" not in formats:
        raise StudyError("", list(formats), "a list with svg", "the page holds it")
    return formats


class ReportSettings(Settings):
    """The report."""

    title: str = ""
    """Its title."""
    exclude_flagged: bool = False
    """Leave checkpoints that the audit flags out of figures, tables and findings; else they are marked."""
    style: Style = Style()
    """Look of the figures."""
    figure_formats: Annotated[
        tuple[Literal["svg", "png", "pdf"], ...],
        LIST,
        *EACH_ONCE,
        AfterValidator(_with_svg),
        Field(json_schema_extra={"uniqueItems": True, "contains": {"const": "svg"}}),
    ] = ("svg", "png", "pdf")
    """Formats of the figures; svg is needed, since the page holds it."""
    explorer_megabytes: Positive = 7.0
    """Megabytes that the explorer's data may take in the page. With less it shows fewer units that are no
    experts, then fewer steps of token traces, then fewer experts, and says so."""


class Granularity(Settings):
    """How much one job takes; results do not depend on it."""

    steps_per_job: Count = 1
    """Steps that one job of the analysis takes, beside the inner lists of a model's `steps`. More make fewer,
    longer jobs. Where a series grows, the last job takes its steps anew until it is full."""
    languages_per_job: Count = 1
    """Languages; more make fewer, longer jobs."""
    layers_per_job: Count = 1
    """Layers; more make fewer, longer jobs."""
