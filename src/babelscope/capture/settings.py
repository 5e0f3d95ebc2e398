"""Settings of extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from babelscope.errors import StudyError
from babelscope.models.architectures import SITES
from babelscope.settings import EACH_ONCE, LIST, Count, Name, Settings, Text

#: A site of models, or the name of a dictionary: which there are is known where models are.
Site = Annotated[Name, Field(json_schema_extra={"examples": list(SITES)})]
Sites = Annotated[tuple[Site, ...], LIST, Field(min_length=1), *EACH_ONCE]
#: Rows of pooled units that are held before they are written, and the most bytes that they take.
WINDOW_ROWS, WINDOW_BYTES = 1024, 2**30
#: Sentences that are scored together and whose pooled units take more bytes wait on the node's own disk.
PART_BYTES = 4 * 2**30

PoolingName = Literal["max", "mean", "last", "ml-selfcond", "lang_neuron"]
Poolings = Annotated[tuple[PoolingName, ...], LIST, Field(min_length=1), *EACH_ONCE]


class Pooling(NamedTuple):
    """How a unit's values over the positions of an input become one; docs/methods.md has the names."""

    reduce: Literal["max", "mean", "last"]
    over: Literal["own", "special", "padded"] = "own"
    """``own``: a sentence's own tokens; ``special``: start and end token too; ``padded``: all positions of an
    input without start and end token, padded to ``max_length``, which takes a forward pass of its own."""


POOLINGS: dict[str, Pooling] = {
    "max": Pooling("max"),
    "mean": Pooling("mean"),
    "last": Pooling("last"),
    "ml-selfcond": Pooling("max", over="padded"),
    "lang_neuron": Pooling("mean", over="special"),
}


def is_padded(poolings: Sequence[str]) -> bool:
    """Whether poolings of one forward pass are over inputs of a fixed length."""
    return any(POOLINGS[name].over == "padded" for name in poolings)


ComputeType = Literal["float32", "bfloat16", "float16"]
StoredType = Literal["auto", "float16", "float32"]


class ExtractionSettings(Settings):
    """What is kept of the forward pass, and how it is run."""

    section: ClassVar[str] = "extraction"

    sites: Sites = ("mlp_act",)
    """Where units live, see docs/methods.md: attn_qkv, attn_out, mlp_in, mlp_act, mlp_out, resid, or names of
    dictionaries (models.NAME.dictionaries). More sites mean more units."""
    poolings: Poolings = ("max",)
    """What is taken of a unit over the tokens of a sentence, see docs/methods.md. All results are of the
    first; further ones are scored as well, and only compared with it."""
    dtype: StoredType = "auto"
    """Type of pooled units. auto: float16 where the model computes in it and pooling takes one of its values,
    else float32, so that no rank is lost. float16 is half the size."""
    state_dtype: StoredType = "auto"
    """Type of token states and sentence means, which are most of what is kept. auto: float16 where the model
    computes in 16 bits, else float32."""
    compute_dtype: ComputeType = "float32"
    """Type to compute in."""
    device: Literal["auto", "cpu", "cuda", "spread"] = "auto"
    """auto: the GPU if there is one; spread: over all GPUs that a job has, for a model too large for one."""
    batch_size: Count = 64
    """Sentences of a batch; more are faster on a GPU, and need more memory."""
    max_length: Annotated[int, Field(ge=4)] = 128
    """Longest input in tokens; longer sentences are cut and counted. A larger one cuts fewer."""
    tokens_per_language: Count = 1500
    """Tokens whose states are kept; more make probes better and files larger."""
    mean_sentences: Annotated[int, Field(ge=0)] = 1000
    """Sentences whose mean state is kept, the same in every language; more are more exact."""
    prefix: Text = ""
    """Text before every sentence at the model's input, such as "query: " of the E5 models. Its tokens count
    for max_length, and are left out of pooling, token states and traces."""
    parity_sentences: Annotated[int, Field(ge=2)] = 8
    """Sentences of the parity self-test; more make it stricter and slower."""

    @model_validator(mode="before")
    @classmethod
    def _one_list(cls, values: Any) -> Any:
        if isinstance(values, dict) and "pooling" in values:
            given = values["pooling"]
            raise StudyError("pooling", given, "nothing: the key is `poolings`", f"write poolings: [{given}]")
        return values

    def as_params(self) -> dict[str, Any]:
        """As parameters of a job: without a prefix those of before there was one, so nothing runs anew."""
        return self.model_dump(exclude=None if self.prefix else {"prefix"})

    @property
    def passes(self) -> tuple[tuple[str, ...], ...]:
        """Poolings by the forward pass that gives them, that of the first one first.

        There is always a pass over the plain inputs, of which token states are taken too.
        """
        padded = tuple(name for name in self.poolings if is_padded([name]))
        plain = tuple(name for name in self.poolings if name not in padded)
        if not padded:
            return (plain,)
        return (padded, plain) if self.poolings[0] in padded else (plain, padded)

    def unit_type(self, pooling: str) -> str:
        """Type of pooled units. Small numbers of bfloat16 do not fit float16, nor do means of float16."""
        if self.dtype != "auto":
            return self.dtype
        fits = self.compute_dtype == "float16" and POOLINGS[pooling].reduce != "mean"
        fits = fits and set(self.sites) <= set(SITES)  # latents of dictionaries are computed in float32
        return "float16" if fits else "float32"

    @property
    def state_type(self) -> str:
        """Type of token states and sentence means."""
        if self.state_dtype != "auto":
            return self.state_dtype
        return "float32" if self.compute_dtype == "float32" else "float16"

    def window_rows(self, n_units: int) -> int:
        """Sentences that are sorted by length and written together; units of each pooling count."""
        return max(self.batch_size, min(WINDOW_ROWS, WINDOW_BYTES // (4 * max(1, n_units))))
