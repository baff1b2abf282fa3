"""What is upstream of the functions, as far away as in a data centre; it counts what is asked.

It is one process of its own: a delay line to the Firestore emulator, the metadata server, and IAM
behind the proxy that leads there.
"""

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import trustme

from bench.delay_line import ClientsEnd
from bench.stand_ins import IAM_HOST, Counts, Iam, Metadata
from local.emulator import get
from local.install import LocalStackError
from local.process import child
from local.stack import ROOT


@contextmanager
def upstreams(firestore: str, folder: Path) -> Iterator[dict[str, str]]:
    """Run them until the block ends; yield the settings with which a function finds them.

    Raises:
        LocalStackError: they do not start.
    """
    output = folder / "upstreams.json"
    command = [sys.executable, "-m", __name__, firestore, str(folder)]
    with output.open("wb") as log, child(command, output=log, folder=ROOT) as process:
        while not (printed := output.read_text()).endswith("}\n"):
            if process.poll() is not None:
                raise LocalStackError(f"The stand-ins for Google Cloud did not start:\n{printed}")
            time.sleep(0.05)  # a file tells nobody that it has grown
        yield json.loads(printed)


def counts(settings: Mapping[str, str]) -> dict[str, int]:
    """Return what was asked so far of the upstreams that are found with these settings."""
    _, body = get(settings["GCE_METADATA_HOST"], "/counts", 5)
    counted: dict[str, int] = json.loads(body)
    return counted


async def _serve(firestore: str, folder: Path) -> None:
    loop, asked = asyncio.get_running_loop(), Counts()
    certificates = folder / "ca.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(certificates))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(IAM_HOST).configure_cert(context)
    protocols = (
        lambda: ClientsEnd(firestore, asked.firestore_called),
        lambda: Metadata(asked),
        lambda: Iam(asked, context),
    )
    servers = [await loop.create_server(each, "127.0.0.1", 0, backlog=256) for each in protocols]
    line, metadata, iam = (f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers)
    settings = {
        "FIRESTORE_EMULATOR_HOST": line,
        "GCE_METADATA_HOST": metadata,
        "GCE_METADATA_IP": metadata,
        "https_proxy": f"http://{iam}",
        "no_proxy": "127.0.0.1",
    }
    trusting = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    print(json.dumps(settings | dict.fromkeys(trusting, str(certificates))), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2])))
