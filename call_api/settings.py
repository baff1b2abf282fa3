"""The settings, read once from the environment; a wrong one stops the start by its name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

# Finds the Application Default Credentials, and the ID of the project that they name, if any.
DefaultCredentials = Callable[[], tuple[Any, str | None]]


def _true_or_false(text: str) -> bool:
    """Read a flag. Not "1" or "on": it decides which header is believed, so nothing is guessed."""
    if text.lower() not in {"true", "false"}:
        raise ValueError("neither true nor false")
    return text.lower() == "true"


class SettingsError(Exception):
    """Settings are missing or malformed; the message names each and says what it should be."""


class Settings(BaseModel):
    """The environment variables that this function reads; an empty one counts as unset."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    recordings_bucket: str = Field(
        alias="RECORDINGS_BUCKET",
        pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$",
        description="the name of the bucket that holds the recordings",
    )
    project: str | None = Field(
        None,
        alias="GOOGLE_CLOUD_PROJECT",
        pattern=r"^[a-z0-9][a-z0-9.:-]*$",
        description="a project ID",
    )
    database: str = Field(
        "(default)",
        alias="FIRESTORE_DATABASE",
        pattern=r"^(\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9])$",
        description="the ID of a Firestore database",
    )
    behind_api_gateway: Annotated[bool, BeforeValidator(_true_or_false)] = Field(
        False, alias="BEHIND_API_GATEWAY", description="true or false"
    )
    signer_key_file: Path | None = Field(
        None,
        alias="RECORDING_SIGNER_KEY_FILE",
        description="the path of a service account's JSON key file",
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)
    ] = Field("INFO", alias="LOG_LEVEL", description="one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    firestore_emulator_host: str | None = Field(
        None,
        alias="FIRESTORE_EMULATOR_HOST",
        pattern=r"^[^\s/]+:[0-9]{1,5}$",
        description="host:port, without a scheme",
    )
    storage_endpoint: str = Field(
        "https://storage.googleapis.com",
        alias="STORAGE_EMULATOR_HOST",
        pattern=r"^https?://[^\s/?#]+$",
        description="http://host:port, without a path",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            SettingsError: one or more are missing or malformed.
        """
        try:
            return cls.model_validate({name: text for name, text in environment.items() if text})
        except ValidationError as error:
            raise SettingsError("; ".join(map(_say, error.errors()))) from None


def _say(fault: ErrorDetails) -> str:
    name = fault["loc"][0]
    what = next(f.description for f in Settings.model_fields.values() if f.alias == name)
    return f"{name} is {'missing' if fault['type'] == 'missing' else 'malformed'}: {what}"
