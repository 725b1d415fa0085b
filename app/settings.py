"""Settings: read once from `PRICECAST_…` in the environment, bounded, checked against each other, never changed."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "PRICECAST_"


class Settings(BaseSettings):
    """Each default says why. The environment variable is the upper-case name after `PRICECAST_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1", description="address to listen on; this machine only, until somebody decides otherwise"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    models_dir: Path = Field(Path("models"), description="directory of published artifacts")
    default_model: str = Field("default", description="the model of a request that names none")
    engine: Literal["auto", "onnx", "keras"] = Field(
        "auto", description="what executes the networks; `auto` is keras where it finds a GPU to use, else onnx"
    )
    workers: int = Field(
        1, ge=1, le=64, description="server processes on the one port; more pay where HTTP fills a core and others idle"
    )
    lanes: int = Field(
        0, ge=0, le=256, description="threads that compute in a worker; 0 is its share of the cores, less one for HTTP"
    )
    max_batch_windows: int = Field(
        0,
        ge=0,
        le=4096,
        description="windows in an engine call; 0 is what suits the engine: 32 for onnx, 512 for keras",
    )
    batch_delay_s: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how long an arrival waits for company; 0, as waiting costs latency and wins nothing",
    )
    max_queued_windows: int = Field(
        8192, ge=1, description="windows that may wait; about a second of work for one core, more would miss deadlines"
    )
    max_request_windows: int = Field(1024, ge=1, description="series in one batch request; a tenth of a second of work")
    max_body_bytes: int = Field(
        4 * 2**20, ge=2**10, description="bytes in one body; 1,024 windows of 60 prices take about 1 MiB"
    )
    deadline_s: float = Field(10.0, gt=0, le=300, description="from arrival to answer; later, a client has given up")
    drain_grace_s: float = Field(
        0.5, ge=0, le=60, description="between turning unready and refusing work, for load balancers to notice"
    )
    drain_deadline_s: float = Field(
        8.0, gt=0, le=300, description="for accepted requests to finish; `docker stop` kills after 10 s"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity that is logged")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.max_request_windows > self.max_queued_windows:
            raise ValueError(
                "max_request_windows must not exceed max_queued_windows: such a request could never be taken"
            )
        return self

    @model_validator(mode="after")
    def _no_strangers(self) -> Self:
        known = {PREFIX + name.upper() for name in type(self).model_fields}
        strangers = {name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known}
        if strangers:
            raise ValueError(f"no such setting: {', '.join(sorted(strangers))}")
        return self
