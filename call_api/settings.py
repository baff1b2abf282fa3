"""The settings, read once from the environment; an invalid one stops the start with a message that names it."""

import argparse
import os
import re
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from call_api.names import DATABASE_ID, PROJECT_ID, bucket_name


def _true_or_false(text: str) -> bool:
    """Read a flag. Not "1" or "on": it decides which header is believed, so nothing is guessed."""
    if text.lower() not in {"true", "false"}:
        raise ValueError("neither true nor false")
    return text.lower() == "true"


_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"  # with _, as names of containers may have


def _url(text: str) -> str:
    """Check `http[s]://host[:port]`, which has no other part, such as user info or a path."""
    parts = urlsplit(text)
    host, port = parts.hostname or "", parts.port  # a ValueError above 65535
    if ":" in host:
        IPv6Address(host)
        host = f"[{host}]"
    elif re.fullmatch("[0-9.]*", host):
        IPv4Address(host)
    elif not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", host):
        raise ValueError("no host name")
    is_http = text.isascii() and text.startswith(("http://", "https://"))
    rejoined = f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")
    if not is_http or port == 0 or rejoined != text.lower():
        raise ValueError("not http[s]://host[:port]")
    return text


def _host_and_port(text: str) -> str:
    if urlsplit(_url(f"http://{text}")).port is None:
        raise ValueError("no port")
    return text


_DEFAULT_PORTS = {"http": 80, "https": 443}
_HTTP_HOSTS = {"localhost", "127.0.0.1", "::1"}  # of pages in development; others come over https
_APPS = {"capacitor://localhost", "ionic://localhost"}  # of pages in apps for iOS


def _origins(text: str) -> frozenset[str]:
    """Read origins as browsers write them: in lower case and without the scheme's default port."""
    origins = text.split(",")
    for origin in set(origins) - _APPS:
        parts = urlsplit(_url(origin))
        if origin != origin.lower() or parts.port == _DEFAULT_PORTS[parts.scheme]:
            raise ValueError("not as browsers write it")
        if parts.scheme == "http" and parts.hostname not in _HTTP_HOSTS:
            raise ValueError("http, where https is needed")
        if parts.scheme == "https" and set(origin) & set("[_"):
            raise ValueError("an IPv6 address, or a host name with an underscore")
    return frozenset(origins)


class SettingsError(Exception):
    """Settings are missing or malformed; each of `faults` names one and says what it should be."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Settings(BaseModel):
    """The environment variables that this function reads; an empty one counts as unset."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    recordings_bucket: Annotated[str, AfterValidator(bucket_name)] = Field(
        alias="RECORDINGS_BUCKET",
        description="the name of the bucket that holds the recordings",
    )
    project: str | None = Field(
        None,
        alias="GOOGLE_CLOUD_PROJECT",
        pattern=f"^{PROJECT_ID}$",
        description="a project ID",
    )
    database: str = Field(
        "(default)",
        alias="FIRESTORE_DATABASE",
        pattern=f"^({DATABASE_ID})$",
        description="the ID of a Firestore database",
    )
    behind_api_gateway: Annotated[bool, BeforeValidator(_true_or_false)] = Field(
        False, alias="BEHIND_API_GATEWAY", description="true or false"
    )
    signer_key_file: Path | None = Field(
        None, alias="RECORDING_SIGNER_KEY_FILE", description="a service account's key file"
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)
    ] = Field("INFO", alias="LOG_LEVEL", description="one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    allowed_origins: Annotated[frozenset[str], BeforeValidator(_origins)] = Field(
        frozenset(),
        alias="ALLOWED_ORIGINS",
        description="origins that browsers may call from, separated by commas without spaces: "
        "https://host[:port], http:// for localhost, 127.0.0.1 and [::1], capacitor://localhost "
        "or ionic://localhost, in lower case, without a path",
    )
    firestore_emulator_host: Annotated[str, AfterValidator(_host_and_port)] | None = Field(
        None, alias="FIRESTORE_EMULATOR_HOST", description="host:port, without a scheme"
    )
    storage_endpoint: Annotated[str, AfterValidator(_url)] = Field(
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
            raise SettingsError(*map(_say, error.errors())) from None


def _say(fault: ErrorDetails) -> str:
    name = fault["loc"][0]
    what = next(f.description for f in Settings.model_fields.values() if f.alias == name)
    return f"{name} is {'missing' if fault['type'] == 'missing' else 'malformed'}: {what}"


def emulator_warning(environment: Mapping[str, str]) -> str | None:
    """Return a warning if an emulator is set on Cloud Run, as by a variable left over from a trial.

    The Firebase Emulator Suite sets K_SERVICE as Cloud Run does, but also FUNCTIONS_EMULATOR.
    """
    on_cloud_run = environment.get("K_SERVICE") and environment.get("FUNCTIONS_EMULATOR") != "true"
    hosts = ("FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
    found = [name for name in hosts if environment.get(name)]
    if not on_cloud_run or not found:
        return None
    return f"An emulator is used on Cloud Run: unset {' and '.join(found)}"


def main() -> None:
    """Print a line for each setting of this environment that is missing or malformed, and end with 1.

    Unlike the start of the function, whose log others read, it quotes what is malformed.
    """
    parser = argparse.ArgumentParser(prog="python -m call_api.settings")
    parser.add_argument("--check", action="store_true", required=True, help=main.__doc__)
    parser.parse_args()
    try:
        Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.exit("\n".join(map(_with_what_is_given, error.faults)))


def _with_what_is_given(fault: str) -> str:
    """Return a fault along with what the environment has for the setting that it names."""
    given = os.environ.get(fault.partition(" ")[0])
    return f"{fault}, not {given!r}" if given else fault


if __name__ == "__main__":
    main()
