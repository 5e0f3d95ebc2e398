"""Settings of extraction."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from babelscope.settings import EACH_ONCE, LIST, Count, Settings

Site = Literal["attn_qkv", "attn_out", "mlp_in", "mlp_act", "mlp_out", "resid"]
#: Rows of pooled units that are held before they are written, and the most bytes that they take.
WINDOW_ROWS, WINDOW_BYTES = 1024, 2**30
#: Sentences that are scored together and whose pooled units take more bytes wait on the node's own disk.
PART_BYTES = 4 * 2**30

ComputeType = Literal["float32", "bfloat16", "float16"]


class ExtractionSettings(Settings):
    """What is kept of the forward pass, and how it is run."""

    section: ClassVar[str] = "extraction"

    sites: Annotated[tuple[Site, ...], LIST, Field(min_length=1), *EACH_ONCE] = ("mlp_act",)
    """Where units live, see docs/methods.md; more sites mean more units."""
    pooling: Literal["max", "mean", "last"] = "max"
    """Over the tokens of a sentence."""
    dtype: Literal["auto", "float16", "float32"] = "auto"
    """Type of stored activations. auto: 16 bits where the model computes in 16 bits, but of pooled units only
    where that loses nothing; else 32. float16 is half the size, and may lose ranks of units."""
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
    def unit_dtype(self) -> str:
        """Type of pooled units. Small numbers of bfloat16 do not fit float16, so these take 32 bits."""
        return self._stored(half=("float16",))

    @property
    def state_dtype(self) -> str:
        """Type of token states and sentence means."""
        return self._stored(half=("float16", "bfloat16"))

    def _stored(self, half: tuple[str, ...]) -> str:
        if self.dtype != "auto":
            return self.dtype
        return "float16" if self.compute_dtype in half else "float32"

    def window_rows(self, n_units: int) -> int:
        """Sentences that are sorted by length and written together."""
        return max(self.batch_size, min(WINDOW_ROWS, WINDOW_BYTES // (4 * n_units)))
