"""The settings of deploy.sh: what each means, its default, and what it may be.

    python3 -m ops.deploy_settings help
    python3 -m ops.deploy_settings read COMMAND

`help` prints them. `read` prints those of a command, and the names that follow from them, as
assignments for Bash; or a line for each that is missing or malformed, and ends with 1. It needs the
standard library only, so that a dry run needs no installation.
"""

import argparse
import hashlib
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from call_api.names import DATABASE_ID, PROJECT_ID, bucket_name

PREPARING = frozenset({"function", "gateway"})
DEPLOYING = PREPARING | {"canary"}
SMOKE_TESTED = DEPLOYING | {"edge"}
IN_A_REGION = SMOKE_TESTED | {"site", "status", "rollback", "delete", "ci"}
EVERY_COMMAND = IN_A_REGION | {"alerts"}

# What the function needs to answer as SECURITY.md says, and Cloud Run's most CPUs for so much.
LEAST_MEMORY_MIB = 512
LEAST_MIB_OF_CPUS = {1: 128, 2: 128, 4: 2048, 6: 4096, 8: 4096}
LEAST_CPUS_OF_MIB = {4096: 1, 8192: 2, 16384: 4, 24576: 6, 32768: 8}


def pattern(regex: str) -> Callable[[str], str]:
    """Return a check that a text matches as a whole. In Python's [a-z] there are no other letters."""

    def check(text: str) -> str:
        if not re.fullmatch(regex, text):
            raise ValueError
        return text

    return check


def between(least: int, most: int) -> Callable[[str], str]:
    """Return a check for a number, written without leading zeros."""

    def check(text: str) -> str:
        if not re.fullmatch("0|[1-9][0-9]{0,5}", text) or not least <= int(text) <= most:
            raise ValueError
        return text

    return check


def bucket(text: str) -> str:
    """Return the name of a bucket, which may be written as its URL."""
    return bucket_name(text.removeprefix("gs://").removesuffix("/"))


def memory(text: str) -> str:
    """Check an amount of memory that the function can work with."""
    if not re.fullmatch("[1-9][0-9]{0,4}(Mi|Gi)", text):
        raise ValueError
    if not LEAST_MEMORY_MIB <= mib(text) <= max(LEAST_CPUS_OF_MIB):
        raise ValueError
    return text


def mib(text: str) -> int:
    """Return an amount of memory in MiB."""
    return int(text[:-2]) * (1024 if text.endswith("Gi") else 1)


# What gcloud takes in --set-env-vars with a semicolon between settings. call_api.settings judges more.
passed_on = pattern(r"[^;\x00-\x1f\x7f]*")

REGION = "a region, such as europe-west1"


class Setting(NamedTuple):
    """An environment variable of deploy.sh.

    `default` may name REGION in braces; None means that it is required. `rule` completes "NAME is
    malformed: … is not". A secret is never printed.
    """

    name: str
    meaning: str
    rule: str
    check: Callable[[str], str]
    default: str | None = ""
    commands: frozenset[str] = DEPLOYING
    is_secret: bool = False


SETTINGS = (
    Setting(
        "PROJECT",
        "the project's ID; GOOGLE_CLOUD_PROJECT is read if it is unset",
        "a project ID: 6 to 30 lower-case letters, digits and hyphens, such as my-project",
        pattern(PROJECT_ID),
        None,
        EVERY_COMMAND,
    ),
    Setting(
        "REGION",
        "where the function runs; run again with another for a second region",
        REGION,
        pattern("[a-z]+(-[a-z]+)+[0-9]+"),
        None,
        IN_A_REGION,
    ),
    Setting(
        "RECORDINGS_BUCKET",
        "the bucket of the recordings",
        "the name of a bucket",
        bucket,
        None,
    ),
    Setting(
        "FUNCTION",
        "the function's name, from which all others are made",
        "2 to 22 lower-case letters, digits and hyphens, the first a letter",
        pattern("[a-z][a-z0-9-]{0,20}[a-z0-9]"),  # accounts' names have 30 at most
        "get-call",
        EVERY_COMMAND,
    ),
    Setting(
        "GATEWAY_REGION",
        "where the gateway runs, as not every region has API Gateway",
        REGION,
        pattern("[a-z]+(-[a-z]+)+[0-9]+"),
        "{REGION}",
        frozenset({"gateway", "status", "delete"}),
    ),
    Setting(
        "FIRESTORE_DATABASE",
        "the database",
        "the ID of a Firestore database: (default), or 4 to 63 lower-case letters, digits and hyphens",
        pattern(DATABASE_ID),
        "(default)",
    ),
    Setting(
        "FIRESTORE_LOCATION",
        "where the database is created, if it is missing",
        "a location of Firestore, such as eur3 or europe-west1",
        pattern("[a-z]+[0-9]|[a-z]+(-[a-z]+)+[0-9]+"),
        "{REGION}",
        PREPARING,
    ),
    Setting(
        "FIRESTORE_RULES",
        "keep or replace security rules that differ from firestore.rules; unset: stop and ask",
        "keep or replace",
        pattern("(keep|replace)?"),
        commands=PREPARING,
    ),
    Setting(
        "FIRESTORE_RECOVERY",
        "on: point-in-time recovery and daily backups, also of a database that is there already",
        "on, or unset",
        pattern("(on)?"),
        commands=PREPARING,
    ),
    Setting(
        "RETENTION_DAYS",
        "a bucket created here deletes recordings after so many; unset: never",
        "a number of days, 1 to 36500",
        between(1, 36_500),
        commands=PREPARING,
    ),
    Setting(
        "SIGNER_SECRET",
        "name:version of the secret that holds a service account's key file, which then signs the "
        "links; unset: IAM signs",
        "a secret and the number of its version, such as signer:3",
        pattern("[A-Za-z0-9_-]{1,255}:[1-9][0-9]*"),
    ),
    Setting(
        "BUILD_ACCOUNT",
        "the service account that builds, where the project's default may not",
        "the e-mail address of a service account",
        pattern(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com"),
        commands=DEPLOYING | {"ci"},
    ),
    Setting(
        "INVOKER_CHECK",
        "off: everybody may call the function, without a grant to allUsers, where an organisation "
        "forbids that; it then goes around the policy",
        "on or off",
        pattern("on|off"),
        "on",
        frozenset({"function"}),
    ),
    Setting(
        "MIN_INSTANCES",
        "kept warm, and paid for",
        "0 to 1000, and at most MAX_INSTANCES",
        between(0, 1000),
        "0",
    ),
    Setting("MAX_INSTANCES", "no more than these", "1 to 1000", between(1, 1000), "20"),
    Setting(
        "CONCURRENCY",
        "requests that one instance answers at a time",
        "1 to 100, as an instance answers at most 100 calls at a time",
        between(1, 100),
        "80",
    ),
    Setting("CPU", "of an instance", "1, 2, 4, 6 or 8", pattern("[12468]"), "1"),
    Setting(
        "MEMORY",
        "of an instance",
        "512Mi to 32Gi, as less may be too little for a large call, and as much as CPU allows "
        "(https://cloud.google.com/run/docs/configuring/services/memory-limits)",
        memory,
        "512Mi",
    ),
    Setting(
        "LOG_LEVEL",
        "the least severity that is logged; unset: INFO",
        "free of control characters and of semicolons, which separate settings",
        passed_on,
    ),
    Setting(
        "ALLOWED_ORIGINS",
        "origins that browsers may call from, separated by commas (docs/deploy.md)",
        "free of control characters and of semicolons, which separate settings",
        passed_on,
        commands=SMOKE_TESTED,
    ),
    Setting(
        "DOMAIN",
        "the domain at which the load balancer answers; `edge` needs it, and a deployment to a "
        "function that the balancer alone reaches",
        "a domain in lower case, such as api.example.com",
        pattern(r"(?!.{65})([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"),
        commands=SMOKE_TESTED,
    ),
    Setting(
        "KEY_REQUESTS_PER_MINUTE",
        "what the load balancer lets through of each key; 0: keys have no limit of their own, and "
        "the next one counts all requests",
        "0 to 999999",
        between(0, 999_999),
        "6000",
        frozenset({"edge"}),
    ),
    Setting(
        "ADDRESS_REQUESTS_PER_MINUTE",
        "what it lets through of each client's address, without a key",
        "1 to 999999",
        between(1, 999_999),
        "600",
        frozenset({"edge"}),
    ),
    Setting(
        "INGRESS",
        "balancer: once the certificate is issued, only the load balancer reaches the function; "
        "all: its own address stays open, as the site needs",
        "balancer or all",
        pattern("balancer|all"),
        "balancer",
        frozenset({"edge"}),
    ),
    Setting(
        "NOTIFICATION_CHANNELS",
        "the channels that alerts notify, separated by commas; unset: unchanged",
        "a list of projects/PROJECT/notificationChannels/NUMBER",
        pattern("(projects/[^,/]+/notificationChannels/[0-9]+(,(?!$)|$))*"),
        commands=frozenset({"alerts"}),
    ),
    Setting(
        "REPOSITORY",
        "the GitHub repository whose workflow may deploy (docs/company.md)",
        "owner/name, as GitHub writes it",
        pattern("[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}"),
        None,
        frozenset({"ci"}),
    ),
    Setting(
        "REPOSITORY_ID",
        "its number, which no other repository ever gets",
        "a number, as `gh api repos/OWNER/NAME --jq .id` prints it",
        pattern("[1-9][0-9]{0,18}"),
        None,
        frozenset({"ci"}),
    ),
    Setting(
        "CI_ENVIRONMENT",
        "the environment of that repository whose jobs may deploy to PROJECT",
        "staging or production",
        pattern("staging|production"),
        None,
        frozenset({"ci"}),
    ),
    Setting(
        "SMOKE_KEY",
        "an API key: with SMOKE_CALL, a deployment ends with the smoke test",
        "an API key: printable ASCII without spaces",
        pattern("[!-~]*"),
        commands=SMOKE_TESTED,
        is_secret=True,
    ),
    Setting(
        "SMOKE_CALL",
        "a call of that key's org",
        "a call's ID",
        pattern("[0-9]*"),
        commands=SMOKE_TESTED,
    ),
)


def read(command: str, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the settings of a command, and a sentence for each that is missing or malformed."""
    values, faults = dict[str, str](), []
    for setting in SETTINGS:
        if command not in setting.commands:
            continue
        text = environment.get(setting.name, "")
        if setting.name == "PROJECT":
            text = text or environment.get("GOOGLE_CLOUD_PROJECT", "")
        if not text and setting.default is None:
            faults.append(f"{setting.name} is required: {setting.meaning}.")
        elif not text:
            values[setting.name] = str(setting.default).format(REGION=values.get("REGION"))
        else:
            try:
                values[setting.name] = setting.check(text)
            except ValueError:
                what = "its value" if setting.is_secret else repr(text)
                faults.append(f"{setting.name} is malformed: {what} is not {setting.rule}.")
    return values, faults or list(_contradictions(command, values))


def _contradictions(command: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each pair of settings that are right, but not together."""
    if values["FUNCTION"].endswith("-private") and command != "rollback":
        name = values["FUNCTION"]
        yield f"FUNCTION is malformed: {name!r} is the name of the function behind the gateway."
    if command == "edge" and not values["DOMAIN"]:
        yield "DOMAIN is required: the domain at which the load balancer answers."
    if command not in DEPLOYING:
        return
    least, most = int(values["MIN_INSTANCES"]), int(values["MAX_INSTANCES"])
    if least > most:
        yield f"MIN_INSTANCES is malformed: '{least}' is more than MAX_INSTANCES, {most}."
    cpus, amount = int(values["CPU"]), mib(values["MEMORY"])
    least_cpus = next(cpus for limit, cpus in LEAST_CPUS_OF_MIB.items() if amount <= limit)
    if amount < LEAST_MIB_OF_CPUS[cpus] or cpus < least_cpus:
        yield f"MEMORY is malformed: {values['MEMORY']!r} does not go with CPU={cpus}."


def names(values: Mapping[str, str]) -> dict[str, str]:
    """Return the names that follow from the settings.

    Each region has an account of its own, which reads its region's bucket alone. An account's name
    has 30 characters, too few for some functions' and regions' names.
    """
    domain, _, project = values["PROJECT"].rpartition(":")
    accounts = f"{project}.{domain}".rstrip(".") + ".iam.gserviceaccount.com"
    function = values["FUNCTION"]
    derived = {
        "PRIVATE_FUNCTION": f"{function}-private",
        "EDGE": f"{function}-edge",
        "GATEWAY_ACCOUNT": f"{function}-gateway@{accounts}",
        "DEPLOYER_ACCOUNT": f"{function}-deploy@{accounts}",
        "IDENTITY_POOL": f"{function}-ci",
    }
    if region := values.get("REGION"):
        short = hashlib.sha256(region.encode()).hexdigest()[:6]
        derived["RUNTIME_ACCOUNT"] = f"{function}-{short}@{accounts}"
    if served := values.get("DOMAIN"):
        short = hashlib.sha256(served.encode()).hexdigest()[:6]
        derived["CERTIFICATE"] = f"{derived['EDGE']}-{short}"
    return derived


def help_text() -> str:
    """Return the settings as `./deploy.sh --help` lists them."""
    lines = ["Environment variables, with their defaults:", ""]
    for setting in SETTINGS:
        default = setting.default and setting.default.format(REGION="REGION")
        told = default or "unset"
        if default is None:
            told = (
                "required" if len(setting.commands) > 1 else f"required by {min(setting.commands)}"
            )
        lines += textwrap.wrap(
            f"{setting.name:<22} {setting.meaning} [{told}]",
            width=100,
            initial_indent="  ",
            subsequent_indent=" " * 25,
        )
    return "\n".join(lines)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python3 -m ops.deploy_settings")
    commands = parser.add_subparsers(dest="action", required=True)
    commands.add_parser("help")
    commands.add_parser("read").add_argument("command", choices=sorted(EVERY_COMMAND))
    arguments = parser.parse_args()
    if arguments.action == "help":
        sys.stdout.write(help_text() + "\n")
        return
    values, faults = read(arguments.command, os.environ)
    if faults:
        sys.exit("\n".join(f"deploy.sh: {fault}" for fault in faults))
    for name, value in {**values, **names(values)}.items():
        sys.stdout.write(f"readonly {name}={shlex.quote(value)}\n")


if __name__ == "__main__":
    main()
