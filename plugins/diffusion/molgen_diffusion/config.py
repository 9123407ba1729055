"""The options of the samplers."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class CodecConfig(BaseModel):
    """How elements become something that noise can blur."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["gaussian", "masked"] = Field("masked", description="scaled one-hot under noise, or hidden codes")
    scale: float = Field(1.0, gt=0, description="gaussian: size of the one-hot, in Å of noise")
    a: float = Field(0.05, gt=0, description="masked: Å, nothing is hidden below")
    b: float = Field(5.0, gt=0, description="masked: Å, everything is hidden above")

    @model_validator(mode="after")
    def _ordered(self) -> CodecConfig:
        if self.a >= self.b:
            raise ValueError(f"a = {self.a} must lie below b = {self.b}")
        return self


class ScheduleConfig(BaseModel):
    """Which noise levels a sampler visits between its largest and its smallest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["rho", "uniform", "cosine", "arcsin", "beta"] = Field("rho", description="how levels are spaced")
    rho: float = Field(7.0, gt=0, description="rho: curvature, ρ of Karras et al., eq. 5")
    # 0.6 and 0.6 are the defaults of the implementations that cite the paper
    alpha: float = Field(0.6, gt=0, description="beta: α of the distribution; below 1, shorter steps at small noise")
    beta: float = Field(0.6, gt=0, description="beta: β of the distribution; below 1, shorter steps at large noise")
    # where the slope of the mixture at its middle, 1 − (1 − 2/π)·ρ, is still positive
    mix: float = Field(2.0, ge=0, le=2.75, description="arcsin: ρ of VEDA; 0 is even in ln σ")


class FlowScheduleConfig(ScheduleConfig):
    """The same with the choice of `flow`: equal steps in time."""

    kind: Literal["rho", "uniform", "cosine", "arcsin", "beta"] = Field("uniform", description="how levels are spaced")


class KarrasConfig(BaseModel):
    """Options of `karras`: what is learned, and how molecules are drawn from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # sampling: free to change on a trained model
    n_steps: int = Field(100, ge=1, description="steps from noise to molecule")
    order: Literal[1, 2] = Field(1, description="1: Euler, one evaluation a step; 2: Heun, two")
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig, description="of the noise levels")
    churn: float = Field(80.0, ge=0, description="noise put back in all, S_churn of algorithm 2")
    churn_min: float = Field(0.01, ge=0, description="Å, no noise is put back below")
    churn_max: float = Field(15.0, gt=0, description="Å, no noise is put back above")
    churn_noise: float = Field(1.0, gt=0, description="size of the noise put back, S_noise of algorithm 2")
    resampling: int | None = Field(
        None, ge=1, description="times that each step is taken; 4 with a substructure, else 1, if left out"
    )

    # training: stored in the checkpoint's process
    sigma_min: float = Field(0.01, gt=0, description="Å, smallest noise")
    sigma_max: float = Field(15.0, gt=0, description="Å, largest noise")
    log_mean: float = Field(-0.9, description="mean of ln σ in training, σ in Å")
    log_std: float = Field(1.4, gt=0, description="standard deviation of ln σ in training")
    species_weight: float = Field(0.5, ge=0, description="weight of the elements' cross-entropy in the loss")
    codec: CodecConfig = Field(default_factory=CodecConfig, description="of the elements")

    @model_validator(mode="before")
    @classmethod
    def _take_rho(cls, data: Any) -> Any:
        """`rho` beside the other options is the curvature of eq. 5, as before there were other schedules."""
        if not isinstance(data, dict) or "rho" not in data:
            return data
        return {key: value for key, value in data.items() if key != "rho"} | {
            "schedule": {"kind": "rho", "rho": data["rho"]}
        }

    @model_validator(mode="after")
    def _ordered(self) -> KarrasConfig:
        return _with_ordered_levels(self)


class FlowConfig(BaseModel):
    """Options of `flow`: what is learned, and how molecules are drawn from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # sampling: free to change on a trained model
    n_steps: int = Field(100, ge=1, description="steps from noise to molecule")
    order: Literal[1, 2] = Field(1, description="1: Euler, one evaluation a step; 2: Heun, two")
    schedule: FlowScheduleConfig = Field(default_factory=FlowScheduleConfig, description="of the noise levels")

    # training: stored in the checkpoint's process
    sigma_min: float = Field(0.01, gt=0, description="Å, smallest noise, at t = 1/(1 + σ)")
    sigma_max: float = Field(15.0, gt=0, description="Å, largest noise")
    times: Literal["uniform", "logit-normal"] = Field("uniform", description="distribution of t in training")
    time_mean: float = Field(0.0, description="logit-normal: mean of ln t/(1 − t), which is −ln σ")
    time_std: float = Field(1.0, gt=0, description="logit-normal: its standard deviation")
    species_weight: float = Field(0.5, ge=0, description="weight of the elements' cross-entropy in the loss")
    codec: CodecConfig = Field(default_factory=CodecConfig, description="of the elements")

    @model_validator(mode="after")
    def _ordered(self) -> FlowConfig:
        return _with_ordered_levels(self)


class EDMConfig(BaseModel):
    """Options of `edm`: what is learned, and how molecules are drawn from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_steps: int = Field(1000, ge=1, description="steps from noise to molecule")
    precision: float = Field(1e-5, gt=0, lt=0.5, description="s of the schedule α = (1 − 2s)(1 − t²) + s")
    sigma_min: float = Field(0.005, gt=0, description="Å, smallest noise")
    sigma_max: float = Field(50.0, gt=0, description="Å, largest noise")
    species_scale: float = Field(0.25, gt=0, description="size of the one-hot, the paper's 1/4")
    species_weight: float = Field(1.0, ge=0, description="weight of the elements' noise in the loss")

    @model_validator(mode="after")
    def _ordered(self) -> EDMConfig:
        return _with_ordered_levels(self)


_Config = TypeVar("_Config", KarrasConfig, FlowConfig, EDMConfig)


def _with_ordered_levels(config: _Config) -> _Config:
    if config.sigma_min >= config.sigma_max:
        raise ValueError(f"sigma_min = {config.sigma_min} must lie below sigma_max = {config.sigma_max}")
    return config
