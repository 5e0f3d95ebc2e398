"""Settings of extraction."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from babelscope.settings import EACH_ONCE, LIST, Count, Settings

Site = Literal["attn_qkv", "attn_out", "mlp_in", "mlp_act", "mlp_out", "resid"]
Sites = Annotated[tuple[Site, ...], LIST, Field(min_length=1), *EACH_ONCE]
#: Rows of pooled units that are held before they are written, and the most bytes that they take.
WINDOW_ROWS, WINDOW_BYTES = 1024, 2**30
#: Sentences that are scored together and whose pooled units take more bytes wait on the node's own disk.
PART_BYTES = 4 * 2**30

ComputeType = Literal["float32", "bfloat16", "float16"]
StoredType = Literal["auto", "float16", "float32"]


class ExtractionSettings(Settings):
    """What is kept of the forward pass, and how it is run."""

    section: ClassVar[str] = "extraction"

    sites: Sites = ("mlp_act",)
    """Where units live, see docs/methods.md; more sites mean more units."""
    pooling: Literal["max", "mean", "last"] = "max"
    """Over the tokens of a sentence."""
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
    parity_sentences: Annotated[int, Field(ge=2)] = 8
    """Sentences of the parity self-test; more make it stricter and slower."""

    @property
    def unit_type(self) -> str:
        """Type of pooled units. Small numbers of bfloat16 do not fit float16, nor do means of float16."""
        if self.dtype != "auto":
            return self.dtype
        fits = self.compute_dtype == "float16" and self.pooling != "mean"
        return "float16" if fits else "float32"

    @property
    def state_type(self) -> str:
        """Type of token states and sentence means."""
        if self.state_dtype != "auto":
            return self.state_dtype
        return "float32" if self.compute_dtype == "float32" else "float16"

    def window_rows(self, n_units: int) -> int:
        """Sentences that are sorted by length and written together."""
        return max(self.batch_size, min(WINDOW_ROWS, WINDOW_BYTES // (4 * n_units)))
