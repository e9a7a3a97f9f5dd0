"""The cluster's certificates: its authorities, and what each component shows.

Three authorities, each trusted for one thing: a certificate that opens the API must neither open etcd nor speak to the
API in another's name.
"""

import hashlib
import ipaddress
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline_local.paths import private_folder

NODE_NAME = "localhost"
SERVICE_ADDRESS = "10.96.0.1"
"""The first address of the service network, which is that of the API's own Service."""

_LOOPBACK = ("localhost", "127.0.0.1")
_LIFETIME = timedelta(days=3650)
_RENEW_BEFORE = timedelta(days=30)
_USAGES = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}


@dataclass(frozen=True)
class Leaf:
    """A certificate to issue."""

    name: str
    common_name: str
    usages: tuple[str, ...]
    organization: str | None = None
    hosts: tuple[str, ...] = ()
    authority: str = "ca"


LEAVES = (
    Leaf(
        "apiserver",
        "kube-apiserver",
        ("server",),
        hosts=(*_LOOPBACK, SERVICE_ADDRESS, "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
    ),
    # how the API server shows itself to the kubelet, for logs and exec
    Leaf("apiserver-kubelet", "kube-apiserver-kubelet-client", ("client",), organization="system:masters"),
    Leaf("admin", "kubernetes-admin", ("client",), organization="system:masters"),
    Leaf("controller-manager", "system:kube-controller-manager", ("client", "server"), hosts=_LOOPBACK),
    Leaf("scheduler", "system:kube-scheduler", ("client", "server"), hosts=_LOOPBACK),
    Leaf("kubelet", f"system:node:{NODE_NAME}", ("client", "server"), organization="system:nodes", hosts=_LOOPBACK),
    Leaf("etcd", "etcd", ("client", "server"), hosts=_LOOPBACK, authority="etcd-ca"),
    # how the API server shows itself to API servers that extend it, when it hands on a request
    Leaf("front-proxy-client", "front-proxy-client", ("client",), authority="front-proxy-ca"),
    Leaf("apiserver-etcd", "kube-apiserver-etcd-client", ("client",), authority="etcd-ca"),
)


@dataclass(frozen=True)
class Certificates:
    """The files of one set. NAME.crt and NAME.key for each leaf and authority."""

    folder: Path

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    @property
    def service_account_key(self) -> Path:
        """Signs and, as its public half is in it, checks the tokens of service accounts."""
        return self.folder / "service-account.key"

    @property
    def service_account_public_key(self) -> Path:
        return self.folder / "service-account.pub"

    def fingerprint(self) -> str:
        """Changes with the set: what tells that a component still runs with an older one."""
        return hashlib.sha256(self.certificate("ca").read_bytes()).hexdigest()[:16]


def ensure(folder: Path, now: datetime | None = None) -> Certificates:
    """The set in this folder; a new one where there is none, where it lacks a file, or within 30 days of its end."""
    present = Certificates(folder)
    if _is_usable(present, now or datetime.now(UTC)):
        return present
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    private_folder(temporary)
    _issue(Certificates(temporary), now or datetime.now(UTC))
    shutil.rmtree(folder, ignore_errors=True)
    # crash here: there is no set, and the next start issues one
    temporary.rename(folder)
    return present


def _is_usable(certificates: Certificates, now: datetime) -> bool:
    names = [*{leaf.authority for leaf in LEAVES}, *(leaf.name for leaf in LEAVES)]
    files = [path for name in names for path in (certificates.certificate(name), certificates.key(name))]
    if not all(path.exists() for path in (*files, certificates.service_account_key)):
        return False
    shown = (x509.load_pem_x509_certificate(certificates.certificate(name).read_bytes()) for name in names)
    return all(certificate.not_valid_after_utc - now > _RENEW_BEFORE for certificate in shown)


def _issue(target: Certificates, now: datetime) -> None:
    authorities = {name: _Authority.create(name, now) for name in sorted({leaf.authority for leaf in LEAVES})}
    for name, authority in authorities.items():
        _write(target, name, authority.certificate, authority.key)
    for leaf in LEAVES:
        key = ec.generate_private_key(ec.SECP256R1())
        _write(target, leaf.name, authorities[leaf.authority].sign(leaf, key.public_key(), now), key)
    # RSA, as every client library that checks such a token itself knows RS256
    account = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_private(
        target.service_account_key,
        account.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    public = account.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    target.service_account_public_key.write_bytes(public)


@dataclass(frozen=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, name: str, now: datetime) -> "_Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(f"pipelines-local-{name}")
        builder = _builder(subject, subject, key.public_key(), now)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def sign(self, leaf: Leaf, public_key: ec.EllipticCurvePublicKey, now: datetime) -> x509.Certificate:
        builder = _builder(_name(leaf.common_name, leaf.organization), self.certificate.subject, public_key, now)
        usages = [_USAGES[usage] for usage in leaf.usages]
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if leaf.hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(leaf.hosts)), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(common_name: str, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _alternatives(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        key_encipherment=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(target: Certificates, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    target.certificate(name).write_bytes(certificate.public_bytes(Encoding.PEM))
    _write_private(target.key(name), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
