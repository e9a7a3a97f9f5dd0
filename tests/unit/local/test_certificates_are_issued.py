"""One usable set of certificates, issued once, again before its end, and anew when a file is lost."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from pipeline_local import certificates


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.ensure(tmp_path_factory.mktemp("certificates") / "set")


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("leaf", certificates.LEAVES, ids=lambda leaf: leaf.name)
def test_each_certificate_is_its_authoritys_and_fits_its_key(
    issued: certificates.Certificates, leaf: certificates.Leaf
) -> None:
    authority = load(issued.certificate(leaf.authority))
    load(issued.certificate(leaf.name)).verify_directly_issued_by(authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate(leaf.name), issued.key(leaf.name))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", certificates.SERVICE_ADDRESS, "kubernetes.default.svc"])
def test_the_api_servers_certificate_is_good_for_its_names(issued: certificates.Certificates, host: str) -> None:
    import ipaddress

    try:
        subject: x509.DNSName | x509.IPAddress = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    verifier = PolicyBuilder().store(Store([load(issued.certificate("ca"))])).build_server_verifier(subject)
    verifier.verify(load(issued.certificate("apiserver")), [])


def test_a_certificate_of_the_cluster_does_not_open_etcd(issued: certificates.Certificates) -> None:
    verifier = PolicyBuilder().store(Store([load(issued.certificate("etcd-ca"))])).build_client_verifier()
    with pytest.raises(x509.verification.VerificationError):
        verifier.verify(load(issued.certificate("admin")), [])


def test_keys_are_their_owners_alone(issued: certificates.Certificates) -> None:
    assert issued.folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in issued.folder.glob("*.key"))


def test_a_set_is_kept_until_30_days_before_its_end(tmp_path: Path) -> None:
    first = certificates.ensure(tmp_path / "set").fingerprint()
    end = load(tmp_path / "set" / "ca.crt").not_valid_after_utc
    assert certificates.ensure(tmp_path / "set", end - timedelta(days=31)).fingerprint() == first
    assert certificates.ensure(tmp_path / "set", end - timedelta(days=29)).fingerprint() != first


def test_a_set_that_lacks_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    present = certificates.ensure(tmp_path / "set", datetime.now(UTC))
    first = present.fingerprint()
    present.key("kubelet").unlink()
    assert certificates.ensure(tmp_path / "set").fingerprint() != first
    assert present.key("kubelet").exists()
