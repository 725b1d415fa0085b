"""Settings: read once from `PRICECAST_…` in the environment, bounded, checked against each other, never changed."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, HttpUrl, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app import api_keys
from app.api_keys import Keys

PREFIX = "PRICECAST_"
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(api_keys.entries)]


class Settings(BaseSettings):
    """Each default says why. The environment variable is the upper-case name after `PRICECAST_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # it may be a key, pasted instead of its hash
    )

    host: str = Field(
        "127.0.0.1", description="address to listen on; this machine only, until somebody decides otherwise"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    models_dir: Path = Field(Path("models"), description="directory of published artifacts")
    default_model: str = Field("default", description="the model of a request that names none")
    models_poll_s: float = Field(
        2.0, ge=0, le=3600, description="how often that directory is looked at for other versions; 0 is only on SIGHUP"
    )
    versions_served: int = Field(
        2, ge=1, le=16, description="versions of a model served at once: the live one, the one before it, the newest"
    )
    api_keys: Keys = Field(
        (), description="CLIENT:SHA256 or CLIENT:SHA256:EXPIRY of each key, with commas between; none is open to all"
    )
    admin_keys: Keys = Field(
        (), description="the same for keys that may load and unload models; without any, whoever needs no key may"
    )
    allow_public_without_keys: bool = Field(
        False, description="whether to start on an address that others reach, and let everyone in"
    )
    max_requests_per_s_per_client: float = Field(
        0.0, ge=0, description="of the keys of one client, in each worker; 0 is any number"
    )
    max_windows_per_client: int = Field(
        0, ge=0, description="in flight at once, for the keys of one client, in each worker; 0 is any number"
    )
    cors_origins: Words = Field(
        (), description="origins whose pages may call this from a browser, with commas between; none may, or `*`: all"
    )
    engine: Literal["auto", "onnx", "keras"] = Field(
        "auto", description="what executes the networks; `auto` is keras where it finds a GPU to use, else onnx"
    )
    workers: int = Field(
        1, ge=1, le=64, description="server processes on the one port; more pay where HTTP fills a core and others idle"
    )
    engine_threads: int = Field(
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
        4096, ge=1, description="windows that may wait; some tenths of a second of work, who comes later is refused"
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
    metrics_port: int = Field(
        0, ge=0, le=65535, description="a port of its own for /metrics, where it needs no key; 0 is beside the rest"
    )
    metrics_host: str = Field("127.0.0.1", description="address of that port; who reaches it needs no key")
    otlp_endpoint: HttpUrl | None = Field(
        None, description="where OpenTelemetry traces are sent, as http://HOST:4318/v1/traces; nowhere unless given"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity that is logged; each request is an info"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.max_request_windows > self.max_queued_windows:
            raise ValueError(
                "max_request_windows must not exceed max_queued_windows: such a request could never be taken"
            )
        if 0 < self.max_windows_per_client < self.max_request_windows:
            raise ValueError("max_request_windows must not exceed max_windows_per_client, for the same reason")
        if self.port and self.metrics_port == self.port:
            raise ValueError("metrics_port must be another than port, or 0")
        return self

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not (self.api_keys or self.allow_public_without_keys or _is_local(self.host)):
            raise ValueError(
                f"others can reach {self.host}, and there are no api_keys: make some with `python -m app key CLIENT`, "
                "or set allow_public_without_keys to true if everyone may ask"
            )
        return self

    @model_validator(mode="after")
    def _no_strangers(self) -> Self:
        known = {PREFIX + name.upper() for name in type(self).model_fields}
        strangers = {name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known}
        if strangers:
            raise ValueError(f"no such setting: {', '.join(sorted(strangers))}")
        return self


def _is_local(host: str) -> bool:
    """Whether an address is one that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
