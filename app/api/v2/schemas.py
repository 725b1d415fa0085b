"""Bodies of the Open Inference Protocol's requests and answers, as the OpenAPI document shows them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import EXAMPLE_PRICES, Horizon
from app.artifact.manifest import Version

Size = Annotated[int, Field(ge=0, lt=2**63)]


class Message(BaseModel):
    """Fields of exactly the types named; what a client has beside them is its own, as the protocol allows."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class InputParameters(Message):
    binary_data_size: Size | None = Field(None, description="bytes of this tensor after the JSON, instead of `data`")


class RequestInput(Message):
    name: str = Field(description="`prices`")
    shape: list[Size] = Field(
        fail_fast=True, description="`[B, W]`: B windows of as many prices as the model's metadata says"
    )
    datatype: str = Field(description="`FP64` or `FP32`")
    parameters: InputParameters | None = None
    data: list[Any] | None = Field(None, description="prices, row by row: flat, or one list for each window")


class OutputParameters(Message):
    model_config = ConfigDict(extra="allow")

    binary_data: bool | None = Field(None, description="whether as bytes after the JSON, whatever all others are")


class RequestOutput(Message):
    name: str = Field(description="`forecast` or `quantiles`")
    parameters: OutputParameters | None = None


class InferParameters(Message):
    horizon: Horizon | None = Field(None, description="how many steps ahead; as far as the model goes unless given")
    timeout: Size = Field(0, description="microseconds until the answer is worth nothing; 0 is the server's deadline")
    binary_data_output: bool = Field(False, description="whether outputs come as bytes after the JSON")


class InferRequest(Message):
    id: str | None = Field(None, description="your name for the request, returned with the answer")
    parameters: InferParameters | None = None
    inputs: list[RequestInput] = Field(min_length=1, fail_fast=True)
    outputs: list[RequestOutput] | None = Field(
        None, fail_fast=True, description="in the order wanted; all unless given"
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
    name: str
    shape: list[int] = Field(description="`[B, H]` or `[B, H, Q]`")
    datatype: str = Field(examples=["FP64"])
    parameters: dict[str, int] | None = Field(default=None, description="`binary_data_size` where bytes were asked for")
    data: list[float] | None = Field(default=None, description="prices, row by row, flat")


class InferResponse(BaseModel):
    model_name: str
    model_version: str
    id: str | None = Field(default=None, description="as sent; absent where none was")
    parameters: dict[str, str] | None = Field(
        default=None, description="`warnings`, where there are any: JSON text, a list of `row`, `code` and `detail`"
    )
    outputs: list[ResponseOutput]


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelNames(BaseModel):
    models: list[str] = Field(description="those that are served")


class ModelReady(BaseModel):
    name: str
    ready: bool


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1 is any size")


class MetadataParameters(BaseModel):
    horizon: int = Field(description="the most steps ahead")
    quantiles: str = Field(description="the probabilities of the Q quantiles, as JSON text")


class ModelMetadata(BaseModel):
    name: str
    versions: list[str] = Field(description="those that are served, oldest first")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: MetadataParameters


class IndexRequest(Message):
    ready: bool = Field(False, description="whether to list only what is ready")

    model_config = ConfigDict(json_schema_extra={"examples": [{"ready": False}]})


class LoadParameters(Message):
    model_config = ConfigDict(extra="allow")

    version: Version | None = Field(None, description="a published version; the one that `current` names unless given")


class RepositoryLoadRequest(Message):
    parameters: LoadParameters | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"parameters": {}}]})


class UnloadParameters(Message):
    unload_dependents: bool = Field(False, description="without effect: no model depends on another")


class UnloadRequest(Message):
    parameters: UnloadParameters | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"parameters": {"unload_dependents": False}}]})


class IndexEntry(BaseModel):
    name: str
    version: str | None = Field(default=None, description="absent where no version can be told")
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = Field(description="why it is unavailable; empty where it is not")


class Loaded(BaseModel):
    name: str
    load: Literal[True] = True


class Unloaded(BaseModel):
    name: str
    unload: Literal[True] = True
