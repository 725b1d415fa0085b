"""Settings, read once from `PRICECAST_*` environment variables and immutable afterwards."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, HttpUrl, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app import api_keys
from app.api_keys import Keys

PREFIX = "PRICECAST_"
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(api_keys.split_entries)]


class Settings(BaseSettings):
    """All settings of the service.

    The environment variable of a setting is its upper-case name after `PRICECAST_`. Each description says what the
    setting does and why its default is what it is.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # the input may be an API key pasted in place of its hash
    )

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. The default accepts connections from this machine only. "
        "Any other address also needs `PRICECAST_API_KEYS` or `PRICECAST_ALLOW_PUBLIC_WITHOUT_KEYS=true`.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0 picks a free port.")
    models_dir: Path = Field(
        Path("models"),
        description="Directory of published artifacts. The default holds the shipped models "
        "if the working directory is the repository's root.",
    )
    default_model: str = Field(
        "default", description="Model used when a request names none. The default is a shipped model."
    )
    models_poll_s: float = Field(
        2.0,
        ge=0,
        le=3600,
        description="Seconds between two checks of `PRICECAST_MODELS_DIR` for new versions. A check only lists "
        "directories, so 2 s is cheap. 0 disables polling: only SIGHUP triggers a check.",
    )
    versions_served: int = Field(
        2,
        ge=1,
        le=16,
        description="Maximum number of versions of each model to keep loaded: the live one, then the previous one, "
        "then the newest. With 2, a rollback needs no loading.",
    )
    api_keys: Keys = Field(
        (),
        description="Comma-separated CLIENT:SHA256[:EXPIRY] entries. "
        "Empty disables authentication: every client is accepted. `python -m app key CLIENT` prints an entry. "
        "EXPIRY is the first day on which the key is no longer valid, as YYYY-MM-DD in UTC.",
    )
    admin_keys: Keys = Field(
        (),
        description="Entries like those of `PRICECAST_API_KEYS`, for keys that may also load and unload models. If "
        "empty, nobody can use the admin endpoints, unless `PRICECAST_API_KEYS` is empty too: then every client can. "
        "Setting only `PRICECAST_ADMIN_KEYS` leaves all other endpoints, `/metrics` too, open to every client.",
    )
    allow_public_without_keys: bool = Field(
        False,
        description="Allow a `PRICECAST_HOST` that other machines can reach while `PRICECAST_API_KEYS` is empty. "
        "Everyone who reaches it is then accepted, on the admin endpoints too unless `PRICECAST_ADMIN_KEYS` is set. "
        "Off, so that a service is never open by accident.",
    )
    max_requests_per_s_per_client: float = Field(
        0.0,
        ge=0,
        description="Maximum requests per second from one client, over all its keys, in each server process: "
        "with several processes, a client can reach a multiple of it. While `PRICECAST_API_KEYS` is empty, all callers "
        "count as one client. The default, 0, is no limit: a sensible value depends on your clients.",
    )
    max_windows_per_client: int = Field(
        0,
        ge=0,
        description="Maximum number of windows that one client may have in flight, over all its keys, in each server "
        "process: with several processes, a client can reach a multiple of it. While `PRICECAST_API_KEYS` is empty, "
        "all callers count as one client. The default, 0, is no limit: one client can fill the queue.",
    )
    cors_origins: CommaSeparated = Field(
        (),
        description="Comma-separated origins whose web pages may call the API from a browser. "
        "Empty allows none; `*` allows every website.",
    )
    engine: Literal["auto", "onnx", "keras"] = Field(
        "auto",
        description="Engine that runs the networks. `auto` selects keras if it can use a GPU, and onnx otherwise.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of server processes that share the port. "
        "More than one pays off only if HTTP keeps a core busy while other cores are idle.",
    )
    engine_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Engine threads for each loaded model version, in each server process. 0 uses the process's "
        "share of the cores, less one core for HTTP while requests are small.",
    )
    max_batch_windows: int = Field(
        0,
        ge=0,
        le=4096,
        description="Maximum number of windows in one engine call. "
        "0 uses the engine's preferred size: 64 for onnx, 512 for keras.",
    )
    batch_delay_s: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Seconds that a request waits for others to join its batch. "
        "0, because waiting adds latency without raising throughput.",
    )
    max_queued_windows: int = Field(
        4096,
        ge=1,
        description="Maximum number of windows queued for one loaded model version in one server process. Requests "
        "that do not fit get 503. On two cores, the `tutorial` model computes 4,096 windows in 0.1 to 0.25 s.",
    )
    max_request_windows: int = Field(
        1024,
        ge=1,
        description="Maximum number of windows in one request: the series of `/predict/batch`, or the rows of a "
        "tensor. On two cores, the `tutorial` model computes 1,024 windows in under 0.1 s.",
    )
    max_body_bytes: int = Field(
        4 * 2**20,
        ge=2**10,
        description="Maximum size of a request body in bytes, before and after decompression. "
        "1,024 windows of 60 prices take about 1 MiB.",
    )
    deadline_s: float = Field(
        10.0,
        gt=0,
        le=300,
        description="Maximum seconds to read a body and answer a forecast; also the upper bound of "
        "`X-Request-Timeout-Ms`. A forecast that exceeds it gets 504. After 10 s, most clients have given up.",
    )
    drain_grace_s: float = Field(
        0.5,
        ge=0,
        le=60,
        description="Seconds at shutdown between reporting unready and rejecting requests, "
        "so that load balancers stop sending traffic first.",
    )
    drain_deadline_s: float = Field(
        8.0,
        gt=0,
        le=300,
        description="Seconds at shutdown for accepted requests to finish. "
        "`docker stop` kills a container after 10 s, so 8 s leaves a margin.",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Separate port for /metrics, where no API key is needed. "
        "0 serves /metrics on the main port, where `PRICECAST_API_KEYS` protects it.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="Address of `PRICECAST_METRICS_PORT`. Everyone who can reach it can read the metrics, without an "
        "API key.",
    )
    otlp_endpoint: HttpUrl | None = Field(
        None,
        description="URL of an OpenTelemetry collector that receives traces over OTLP/HTTP, "
        "such as http://HOST:4318/v1/traces. Unset disables tracing.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Minimum severity of log records. Each request is logged as one line, at `info`.",
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.max_request_windows > self.max_queued_windows:
            raise ValueError(
                f"{PREFIX}MAX_REQUEST_WINDOWS must not exceed {PREFIX}MAX_QUEUED_WINDOWS: "
                "the largest request would never fit the queue"
            )
        if 0 < self.max_windows_per_client < self.max_request_windows:
            raise ValueError(
                f"{PREFIX}MAX_REQUEST_WINDOWS must not exceed {PREFIX}MAX_WINDOWS_PER_CLIENT: "
                "the largest request would always exceed the client's limit"
            )
        if self.port and self.metrics_port == self.port:
            raise ValueError(f"{PREFIX}METRICS_PORT must differ from {PREFIX}PORT, or be 0")
        return self

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if not (self.api_keys or self.allow_public_without_keys or _is_loopback(self.host)):
            raise ValueError(
                f"{PREFIX}API_KEYS is empty, but {PREFIX}HOST {self.host!r} is not a loopback address. Generate a key "
                f'with "python -m app key CLIENT", or set {PREFIX}ALLOW_PUBLIC_WITHOUT_KEYS=true '
                "to accept every client."
            )
        return self

    @model_validator(mode="after")
    def _check_unknown_variables(self) -> Self:
        known = {PREFIX + name.upper() for name in type(self).model_fields}
        unknown = {name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known}
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
        return self


def _is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
