"""Names of credentials: files in the runner's container, Secrets, keys of Cloud KMS; each organization's differ."""

import re

# Where a run's container finds its Secret's fields, one file each, and the keyset that opens a sealed one.
CREDENTIALS_PATH = "/etc/pipelines/credentials"
KEYSET_PATH = "/etc/pipelines/keyset"
ENVELOPE_FILE = "envelope.json"
KEYSET_FILE = "keyset.json"

# No key of a provider comes near it; Cloud KMS takes no more either.
MAX_FILE_BYTES = 64 * 1024
# A key of a Secret that is a field: `api_key`, `service_account.json`.
FIELD = re.compile(r"[a-z][a-z0-9_]{0,62}(\.json)?")

DEFAULT_KEYSET_SECRET = "pipelines-keyset-{org}"  # noqa: S105 - a name, not a secret
# Of the installation's own Secrets in a shared namespace: keysets, the database's, the pepper.
INSTALLATION_PREFIX = "pipelines-"
KMS_SCHEME = "gcp-kms://"

_ORG = "{org}"
_SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SECRET_NAME_MAX = 253
_KMS_KEY = re.compile(r"projects/[^/{}\s]+/locations/[^/{}\s]+/keyRings/[^/{}\s]+/cryptoKeys/[A-Za-z0-9_-]{1,63}")


def is_secret_name(name: str) -> bool:
    """Whether Kubernetes takes it: a DNS-1123 subdomain."""
    return len(name) <= _SECRET_NAME_MAX and _SECRET_NAME.fullmatch(name) is not None


def dns_name(name: str) -> str:
    """An organization's or provider's name where Kubernetes allows no underscore: `acme_eu` becomes `acme--eu`.

    No two names become one, nor do two pairs of them that are joined by a single hyphen.
    """
    return name.replace("_", "--")


def default_secret_name(org_slug: str, provider: str) -> str:
    """What a sealed Secret is called where nobody names it. Raises ValueError if Kubernetes wouldn't take it."""
    return _checked(f"{dns_name(org_slug)}-{dns_name(provider)}")


def is_secret_of(name: str, org_slug: str) -> bool:
    """Whether a Secret of that name is the organization's own where namespaces are shared: `acme-…` is acme's.

    One hyphen and then a letter or digit: `acme--eu-openai` is acme_eu's, so no name is two organizations'. Nor is one
    the installation's own, such as a keyset's: an organization may be called as the installation is.
    """
    prefix = f"{dns_name(org_slug)}-"
    return (
        is_secret_name(name)
        and not name.startswith(INSTALLATION_PREFIX)
        and name.startswith(prefix)
        and name[len(prefix)].isalnum()
    )


def keyset_secret_name(template: str, org_slug: str) -> str:
    """The Secret with the organization's keyset; `{org}` in `template` stands for it.

    Raises ValueError if every organization would have the same, or Kubernetes wouldn't take the name.
    """
    if _ORG not in template:
        raise ValueError(f"{template!r:.200}: expected {_ORG} in it; with one keyset for all, each could open them all")
    return _checked(template.replace(_ORG, dns_name(org_slug)))


def kms_key(template: str, org_slug: str) -> str:
    """The organization's key in Cloud KMS, as `gcp-kms://projects/…/cryptoKeys/…`; `{org}` in `template` stands for it.

    Raises ValueError if every organization would have the same, or it isn't the name of a key.
    """
    if _ORG not in template:
        raise ValueError(f"{template!r:.200}: expected {_ORG} in it; with one key for all, each could open them all")
    return checked_kms_key(template.replace(_ORG, org_slug))


def checked_kms_key(uri: str) -> str:
    """The URI with its scheme. Raises ValueError if it isn't the name of a key, without a version."""
    name = uri.removeprefix(KMS_SCHEME)
    if not _KMS_KEY.fullmatch(name):
        form = f"{KMS_SCHEME}projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY"
        raise ValueError(f"{uri!r:.300} isn't of the form {form}")
    return KMS_SCHEME + name


def _checked(name: str) -> str:
    if not is_secret_name(name):
        raise ValueError(f"{name!r:.300} isn't a name that Kubernetes takes for a Secret")
    return name
