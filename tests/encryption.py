"""Redis, a replica and two Sentinels, reached by TLS alone, with certificates of an authority of the test's own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import secrets
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.launch.embedded import engines
from tests.replication import PRIMARY_OPTIONS, SERVICE, Replicated, Sentinel
from tests.servers import HOST, RedisServer, free_port
from tests.waiting import wait_until

AGREE_SECONDS = 60.0
_DAY = dt.timedelta(days=1)
_PROBE_SECONDS = 10.0
_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@cache
def engine() -> str | None:
    """A Redis or Valkey that was built with TLS: asked for it, one without has never heard of it."""
    for found in engines(os.environ.get("PATH")):
        asked = [found.binary, "--port", "0", "--tls-port", "1", "--save", ""]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False).stdout
        if "tls-cert-file" in told:
            return found.binary
    return None


class Certificate(NamedTuple):
    """Two PEM files."""

    path: Path
    key_path: Path


class Authority:
    """Signs certificates; `path` is its own."""

    def __init__(self, stack: ExitStack) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="belfry-certificates-"))
        stack.callback(shutil.rmtree, self._directory)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"authority {secrets.token_hex(4)}")
        self.path = self._directory / "authority.pem"
        # RFC 5280 requires a critical key usage of an authority, and each of the two key identifiers where a chain uses
        # it. Python verifies this since 3.13 (VERIFY_X509_STRICT is part of its default context).
        signed = (
            _unsigned(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        self.path.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def certify(self, name: str, address: str = "") -> Certificate:
        """A new certificate for a name, and an IP address if one is given."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if address:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        built = (
            _unsigned(_named(name), self._name, key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issuer, critical=False)
        )
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        made.path.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        made.key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _unsigned(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


class Encrypted(Replicated):
    """As `Replicated`, with a second Sentinel. Its servers' certificate is for `address`, and for no other one."""

    def __init__(self, stack: ExitStack, address: str = HOST) -> None:
        self.authority = Authority(stack)
        self._certificate = self.authority.certify("server.test", address)
        super().__init__(stack)
        self.other_sentinel = self.new_sentinel()
        stack.callback(self.other_sentinel.destroy)
        self.other_sentinel.start().hurry()
        self.other_sentinel.wait_for_replicas(1)

    def new_server(self, *options: str) -> RedisServer:
        port = free_port()
        listen = "--port", "0", "--tls-port", str(port)
        return EncryptedRedis(port=port, options=(*PRIMARY_OPTIONS, *listen, *self._options, *options))

    def new_sentinel(self) -> Sentinel:
        lines = [f"{name.removeprefix('--')} {value}" for name, value in zip(*[iter(self._options)] * 2, strict=True)]
        return EncryptedSentinel(self.authority.path, self._certificate, self.primary, *lines)

    @cached_property
    def ours(self) -> Certificate:
        """Belfry's own."""
        return self.authority.certify("belfry.test")

    @property
    def url(self) -> str:
        return self.url_with()

    def url_with(self, **options: object) -> str:
        """The address with further options, or others in their place."""
        given = {"ssl_ca_certs": self.authority.path, "ssl_certfile": self.ours.path, "ssl_keyfile": self.ours.key_path}
        sentinels = ",".join([f"{HOST}:{each.port}" for each in (self.sentinel, self.other_sentinel)])
        return f"rediss+sentinel://{sentinels}/{SERVICE}?{urlencode({**given, **options})}"

    def wait_until_both_know(self, primary: RedisServer) -> None:
        """Wait until both Sentinels name it."""
        both = self.sentinel, self.other_sentinel
        wait_until(
            lambda: {each.primary_port() for each in both} == {primary.port}, AGREE_SECONDS, what="the Sentinels"
        )

    @property
    def _options(self) -> tuple[str, ...]:
        own, key = map(str, self._certificate)
        files = "--tls-cert-file", own, "--tls-key-file", key, "--tls-ca-cert-file", str(self.authority.path)
        return (*files, "--tls-replication", "yes")


class EncryptedRedis(RedisServer):
    """Reached by TLS, and by its unix socket."""

    @staticmethod
    def binary() -> str | None:
        return engine()


class EncryptedSentinel(Sentinel):
    """Reached by TLS alone."""

    def __init__(self, authority: Path, certificate: Certificate, primary: RedisServer, *lines: str) -> None:
        self._tls: dict[str, Any] = {
            "ssl": True,
            "ssl_ca_certs": str(authority),
            "ssl_certfile": str(certificate.path),
            "ssl_keyfile": str(certificate.key_path),
            "ssl_check_hostname": False,
        }
        super().__init__(primary, *lines)

    def listen(self) -> str:
        return f"port 0\ntls-port {self.port}"

    def binary(self) -> str | None:
        return engine()

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, socket_timeout=30, decode_responses=True, **self._tls)
