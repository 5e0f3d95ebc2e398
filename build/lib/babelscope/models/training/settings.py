"""Settings of pre-training."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from babelscope.errors import StudyError
from babelscope.settings import AS_GIVEN, LIST, Count, Positive, Settings, Share

_Beta = Annotated[float, Field(ge=0, lt=1), AS_GIVEN]


class TrainingSettings(Settings):
    """How a model is trained, with AdamW. No setting depends on how far the run goes."""

    section: ClassVar[str] = "training"

    sequence_length: int = Field(ge=8)
    """Tokens of a window; more give longer context, and cost memory and time."""
    batch_size: Count
    """Windows of an optimizer step; more make steps steadier and dearer."""
    learning_rate: Annotated[float, Field(gt=0, le=1), AS_GIVEN]
    """Highest learning rate, at the end of the warm-up; a larger one learns faster, until it diverges."""
    accumulation: Count = 1
    """Parts that a batch is computed in; more need less memory. The update is the same."""
    betas: Annotated[tuple[_Beta, _Beta], LIST] = (0.9, 0.999)
    """Of AdamW; larger ones average gradients over more steps."""
    weight_decay: Annotated[float, Field(ge=0), AS_GIVEN] = 0.01
    """Of matrices; biases and norms are not decayed. More keeps weights smaller."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up; more start more gently."""
    schedule: Literal["constant", "inverse_sqrt", "linear"] = "constant"
    """After the warm-up; `linear` falls to final_lr_share at decay_steps and stays there."""
    final_lr_share: Share = 0
    """linear: what is left of the learning rate."""
    clip_norm: Positive | None = 1
    """Largest norm of the gradient; a larger one clips less often."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of matrix products; the weights are float32 in both cases."""
    decay_steps: Count | None = None
    """linear: step where the fall ends; a larger one makes it slower."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.schedule == "linear" and self.decay_steps is None:
            raise StudyError("decay_steps", None, "a value: schedule linear needs it")
        if self.schedule == "linear" and (self.decay_steps or 0) <= self.warmup_steps:
            allowed = f"more than warmup_steps, {self.warmup_steps}"
            raise StudyError("decay_steps", self.decay_steps, allowed)
        if self.batch_size % self.accumulation:
            allowed = f"a divisor of batch_size, {self.batch_size}"
            raise StudyError("accumulation", self.accumulation, allowed)
        return self

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of update number ``step``, counted from 1."""
        warm, rate = self.warmup_steps, self.learning_rate
        if step < warm:
            return rate * step / warm
        if self.schedule == "inverse_sqrt":
            return rate * math.sqrt(max(warm, 1) / step)
        if self.decay_steps is None or self.schedule == "constant":
            return rate
        done = min(1.0, (step - warm) / max(1, self.decay_steps - warm))
        return rate * (1.0 - (1.0 - self.final_lr_share) * done)
