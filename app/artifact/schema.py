"""The pydantic base class of manifests, evidence and recipes."""

from pydantic import BaseModel, ConfigDict


class FrozenSchema(BaseModel):
    """Base of what is stored in JSON or TOML: immutable, and rejects unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
