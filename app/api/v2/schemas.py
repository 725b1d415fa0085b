"""Request and response schemas of the Open Inference Protocol, as the OpenAPI document shows them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import EXAMPLE_PRICES, Horizon
from app.artifact.manifest import Version

Size = Annotated[int, Field(ge=0, lt=2**63)]


class ProtocolModel(BaseModel):
    """Base of request bodies: does not convert types, and ignores unknown fields, as the protocol allows."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class InputParameters(ProtocolModel):
    """Parameters of an input tensor."""

    binary_data_size: Size | None = Field(
        None, description="Size of this tensor in bytes, if it follows the JSON as binary data instead of in `data`."
    )


class RequestInput(ProtocolModel):
    """The input tensor."""

    name: str = Field(description="Must be `prices`.")
    shape: list[Size] = Field(
        fail_fast=True, description="`[B, W]`: B windows of W prices. The model metadata contains W."
    )
    datatype: str = Field(description="`FP64` or `FP32`.")
    parameters: InputParameters | None = None
    data: list[Any] | None = Field(
        None, description="Prices in row-major order: a flat list, or one list for each window."
    )


class OutputParameters(ProtocolModel):
    """Parameters of a requested output tensor."""

    model_config = ConfigDict(extra="allow")

    binary_data: bool | None = Field(
        None,
        description="Whether to return this tensor as binary data after the JSON. Overrides `binary_data_output`.",
    )


class RequestOutput(ProtocolModel):
    """A requested output tensor."""

    name: str = Field(description="`forecast` or `quantiles`.")
    parameters: OutputParameters | None = None


class InferParameters(ProtocolModel):
    """Parameters of an inference request."""

    horizon: Horizon | None = Field(
        None, description="Number of steps to forecast. Without it, the model's maximum is used."
    )
    timeout: Size = Field(
        0, description="Maximum time to wait for the response, in microseconds. 0 means the server's deadline."
    )
    binary_data_output: bool = Field(
        False, description="Whether to return all outputs as binary data after the JSON, unless they specify otherwise."
    )


class InferRequest(ProtocolModel):
    """Windows to forecast."""

    id: str | None = Field(None, description="Identifier of your choice, returned with the response.")
    parameters: InferParameters | None = None
    inputs: list[RequestInput] = Field(
        min_length=1, fail_fast=True, description="The input tensor `prices`, and no other."
    )
    outputs: list[RequestOutput] | None = Field(
        None, fail_fast=True, description="Outputs to return, in this order. Without it, all are returned."
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "1",
                    "parameters": {"horizon": 1},
                    "inputs": [
                        {
                            "name": "prices",
                            "shape": [1, len(EXAMPLE_PRICES)],
                            "datatype": "FP64",
                            "data": EXAMPLE_PRICES,
                        }
                    ],
                    "outputs": [{"name": "forecast"}],
                }
            ]
        }
    )


class ResponseOutput(BaseModel):
    """An output tensor."""

    name: str = Field(description="`forecast` (the median) or `quantiles`.")
    shape: list[int] = Field(description="`[B, H]` or `[B, H, Q]`: B windows, H steps ahead, Q quantiles.")
    datatype: str = Field(description="Always `FP64`.", examples=["FP64"])
    parameters: dict[str, int] | None = Field(
        default=None,
        description="`binary_data_size`: size in bytes, if the tensor follows the JSON as binary data.",
    )
    data: list[float] | None = Field(
        default=None, description="Prices in row-major order, as a flat list. Absent for binary data."
    )


class InferResponse(BaseModel):
    """Forecasts for all windows of a request."""

    model_name: str
    model_version: str
    id: str | None = Field(default=None, description="The `id` of the request. Absent if it had none.")
    parameters: dict[str, str] | None = Field(
        default=None,
        description="`warnings`: a JSON-encoded list of objects with `row`, `code` and `detail`. Absent if there are "
        "no warnings.",
    )
    outputs: list[ResponseOutput]


class ServerMetadata(BaseModel):
    """Metadata of the server."""

    name: str
    version: str
    extensions: list[str] = Field(description="Supported protocol extensions.")


class ServerLive(BaseModel):
    """Result of the liveness probe."""

    live: bool


class ServerReady(BaseModel):
    """Result of the readiness probe."""

    ready: bool


class ModelNames(BaseModel):
    """Names of the served models."""

    models: list[str]


class ModelReady(BaseModel):
    """Readiness of a model or of a model version."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """Name, datatype and shape of a tensor."""

    name: str
    datatype: str
    shape: list[int] = Field(description="Size of each dimension. -1 means that it varies.")


class MetadataParameters(BaseModel):
    """Model metadata that the protocol has no field for."""

    horizon: int = Field(description="Maximum number of steps ahead.")
    quantiles: str = Field(description="Probabilities of the Q quantiles, as a JSON-encoded list.")


class ModelMetadata(BaseModel):
    """Metadata of a model."""

    name: str
    versions: list[str] = Field(description="Served versions, oldest first.")
    platform: str = Field(description="Engine that executes the network, by Triton's name where it has one.")
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: MetadataParameters


class RepositoryIndexRequest(ProtocolModel):
    """Filter of the repository index."""

    ready: bool = Field(False, description="Whether to list only versions that are ready.")

    model_config = ConfigDict(json_schema_extra={"examples": [{"ready": False}]})


class RepositoryLoadParameters(ProtocolModel):
    """Parameters of a load request."""

    model_config = ConfigDict(extra="allow")

    version: Version | None = Field(
        None, description="Published version to load. Without it, the version named by the model's `current` file."
    )


class RepositoryLoadRequest(ProtocolModel):
    """Options for loading a model."""

    parameters: RepositoryLoadParameters | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"parameters": {}}]})


class RepositoryUnloadParameters(ProtocolModel):
    """Parameters of an unload request."""

    unload_dependents: bool = Field(False, description="Has no effect, because models do not depend on each other.")


class RepositoryUnloadRequest(ProtocolModel):
    """Options for unloading a model."""

    parameters: RepositoryUnloadParameters | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"parameters": {"unload_dependents": False}}]})


class RepositoryIndexEntry(BaseModel):
    """State of a model version."""

    name: str
    version: str | None = Field(default=None, description="Absent if the model has no readable version.")
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = Field(description="Why the version is unavailable. Empty if it is ready.")


class RepositoryLoadResponse(BaseModel):
    """Confirmation that a model was loaded."""

    name: str
    load: Literal[True] = True


class RepositoryUnloadResponse(BaseModel):
    """Confirmation that a model was unloaded."""

    name: str
    unload: Literal[True] = True
