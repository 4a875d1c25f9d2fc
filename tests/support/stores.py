"""Stores that speak S3, for the tests: a real server on this machine, reached as any other would be."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import s3fs
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket of its own.

    Attributes:
        environ: By which a driver finds its server.
    """

    url: str
    name: str
    environ: Mapping[str, str]

    def system(self) -> s3fs.S3FileSystem:
        """Another client's view of it."""
        return s3fs.S3FileSystem(
            endpoint_url=self.environ["AWS_ENDPOINT_URL"],
            key="testing",
            secret="testing",
            use_listings_cache=False,
        )

    def keys(self) -> list[str]:
        """What is in it."""
        return sorted(str(path).rpartition("/")[2] for path in self.system().find(self.name))

    def open_uploads(self) -> list[str]:
        """What has been begun, and neither completed nor given up."""
        listed = self.system().call_s3("list_multipart_uploads", Bucket=self.name)
        return [upload["Key"] for upload in listed.get("Uploads", [])]


@contextmanager
def server() -> Iterator[str]:
    """A server that speaks S3 for as long as the context lasts."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        running.stop()


def bucket(server_url: str) -> Bucket:
    """An empty bucket there."""
    name = f"bucket-{secrets.token_hex(4)}"
    environ = CREDENTIALS | {"AWS_ENDPOINT_URL": server_url}
    made = Bucket(url=f"s3://{name}/files", name=name, environ=environ)
    made.system().mkdir(name)
    return made
