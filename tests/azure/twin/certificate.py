"""A certificate authority made on the spot, and a certificate for every name of the twin."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

NAMES = (
    "*.blob.core.localhost",
    "*.dfs.core.localhost",
    "*.vault.localhost",
    "*.dev.azuresynapse.localhost",
    "management.localhost",
    "localhost",
)
VALID = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Certificate:
    """Files in PEM.

    Attributes:
        certificate: The server's, with the authority's behind it.
        key: Of the server; nobody but the owner can read it.
        bundle: What a client has to trust: the authority, and nobody else.
    """

    certificate: Path
    key: Path
    bundle: Path

    @classmethod
    def make(cls, folder: Path, names: tuple[str, ...] = NAMES) -> Certificate:
        """New ones in a folder; they are good for a month."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(datetime.UTC)
        authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

        def start(name: str, of: ec.EllipticCurvePrivateKey, issuer: str) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
                .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
                .public_key(of.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + VALID)
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
                )
            )

        title = "Noria's offline twin"
        authority = (
            start(title, authority_key, title)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
            .add_extension(_authority_usage(), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        general: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        general.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        server = (
            start("localhost", key, title)
            .add_extension(x509.SubjectAlternativeName(general), critical=False)
            .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        made = cls(folder / "server.pem", folder / "server.key", folder / "bundle.pem")
        made.certificate.write_bytes(server.public_bytes(pem) + authority.public_bytes(pem))
        made.key.touch(mode=0o600)
        made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        made.bundle.write_bytes(authority.public_bytes(pem))
        return made


def _authority_usage() -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
