"""The settings, read once from the environment; an invalid one stops the start with a message that names it."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails


def _true_or_false(text: str) -> bool:
    """Read a flag. Not "1" or "on": it decides which header is believed, so nothing is guessed."""
    if text.lower() not in {"true", "false"}:
        raise ValueError("neither true nor false")
    return text.lower() == "true"


_HOST_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"  # with _, as names of containers may have


def _bucket_name(text: str) -> str:
    """Check what the pattern leaves open. "google" in a name is barred for new buckets alone."""
    is_address = re.fullmatch(r"[0-9]+(\.[0-9]+){3}", text)
    if is_address or not re.fullmatch(r"[^.]{1,63}(\.[^.]{1,63})*", text):
        raise ValueError("an IP address, or a part between dots is empty or too long")
    return text


def _host_and_port(text: str) -> str:
    if _port_of(text) is None:
        raise ValueError("no port")
    return text


def _endpoint(text: str) -> str:
    scheme, _, authority = text.partition("://")
    if scheme not in {"http", "https"}:
        raise ValueError("neither http nor https")
    _port_of(authority)
    return text


def _port_of(authority: str) -> int | None:
    """Return the port of `host[:port]`, if it has one.

    Raises:
        ValueError: it is malformed, or has more parts, such as user info or a path.
    """
    parts = urlsplit(f"//{authority}")
    host, port = parts.hostname or "", parts.port  # a ValueError above 65535
    whole = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
    if whole != authority.lower() or port == 0:
        raise ValueError("not host:port")
    if ":" in host:
        IPv6Address(host)
    elif re.fullmatch("[0-9.]+", host):
        IPv4Address(host)
    elif not re.fullmatch(rf"{_HOST_LABEL}(\.{_HOST_LABEL})*", host):
        raise ValueError("no host name")
    return port


# As browsers write them: in lower case, without a path, without the scheme's default port.
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_DNS_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(
    rf"https://{_DNS_LABEL}(\.{_DNS_LABEL})*(:(?!443$){_PORT})?|http://localhost(:(?!80$){_PORT})?"
)


def _origins(text: str) -> frozenset[str]:
    origins = text.split(",")
    if not all(map(_ORIGIN.fullmatch, origins)):
        raise ValueError("malformed origin")
    return frozenset(origins)


class SettingsError(Exception):
    """Settings are missing or malformed; the message names each and says what it should be."""


class Settings(BaseModel):
    """The environment variables that this function reads; an empty one counts as unset."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    recordings_bucket: Annotated[str, AfterValidator(_bucket_name)] = Field(
        alias="RECORDINGS_BUCKET",
        pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$",
        description="the name of the bucket that holds the recordings",
    )
    project: str | None = Field(
        None,
        alias="GOOGLE_CLOUD_PROJECT",
        # Before the colon: the domain of an old project that belongs to one.
        pattern=r"^([a-z0-9-]+(\.[a-z0-9-]+)+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$",
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
    allowed_origins: Annotated[frozenset[str], BeforeValidator(_origins)] = Field(
        frozenset(),
        alias="ALLOWED_ORIGINS",
        description="origins that browsers may call from, separated by commas without spaces: "
        "https://host[:port], or http://localhost[:port], in lower case, without a path",
    )
    firestore_emulator_host: Annotated[str, AfterValidator(_host_and_port)] | None = Field(
        None,
        alias="FIRESTORE_EMULATOR_HOST",
        description="host:port, without a scheme",
    )
    storage_endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        "https://storage.googleapis.com",
        alias="STORAGE_EMULATOR_HOST",
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


def emulator_warning(environment: Mapping[str, str]) -> str | None:
    """Return a warning if an emulator is set on Cloud Run, as by a variable left over from a trial.

    The Firebase Emulator Suite sets K_SERVICE as Cloud Run does, but also FUNCTIONS_EMULATOR.
    """
    if not environment.get("K_SERVICE") or environment.get("FUNCTIONS_EMULATOR") == "true":
        return None
    found = [
        name
        for name in ("FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
        if environment.get(name)
    ]
    return f"An emulator is used on Cloud Run: unset {' and '.join(found)}" if found else None


def _say(fault: ErrorDetails) -> str:
    name = fault["loc"][0]
    what = next(f.description for f in Settings.model_fields.values() if f.alias == name)
    return f"{name} is {'missing' if fault['type'] == 'missing' else 'malformed'}: {what}"
