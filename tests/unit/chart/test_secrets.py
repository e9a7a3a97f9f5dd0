"""Passwords, keys and authorities: made or the installation's own, in Secrets alone, mounted where they are used."""

from urllib.parse import urlsplit

import pytest
import yaml

from support.chart import (
    NAMESPACE,
    REQUIRED,
    ROOT,
    Rendering,
    containers,
    environment,
    environment_of_exporter,
    environment_of_operator,
    merged,
    render,
    secret_data,
)

pytestmark = pytest.mark.e2e


def test_the_database_is_reached_with_the_generated_password(dev: Rendering) -> None:
    data = secret_data(dev, "pipelines-database")
    url = urlsplit(data["url"])
    assert url.password == data["password"]
    assert len(data["password"]) == 40
    assert (url.scheme, url.username, url.path) == ("postgresql", "pipelines", "/pipelines")
    assert (url.hostname, url.port) == (f"pipelines-dev-services.{NAMESPACE}.svc", 5432)
    for pod in ("pipelines-operator", "pipelines-exporter", "pipelines-bridge", "pipelines-test"):
        reference = environment(dev.pods[pod]["spec"]["containers"][0])["PIPELINES_DATABASE_URL"]
        assert reference == {"secretKeyRef": {"name": "pipelines-database", "key": "url"}}
    server = environment(dev.pods["pipelines-dev-services"]["spec"]["containers"][0])
    reference = server["PIPELINES_DEV_POSTGRES_PASSWORD"]
    assert reference == {"secretKeyRef": {"name": "pipelines-database", "key": "password"}}


def test_no_secret_stands_outside_a_secret(dev: Rendering) -> None:
    secrets = ("pipelines-database", "pipelines-progress", "pipelines-bridge")
    known = {value for name in secrets for value in secret_data(dev, name).values()}
    rest = yaml.safe_dump([manifest for manifest in dev.objects if manifest["kind"] != "Secret"])
    assert not [value for value in known if value in rest]


def test_secrets_of_ones_own_are_used_and_none_is_made() -> None:
    values = {
        "database": {"existingSecret": "supabase", "existingSecretKey": "pooler"},
        "progress": {"existingSecret": "hmac", "existingSecretKey": "k"},
        "bridge": {"pepper": {"existingSecret": "keys", "existingSecretKey": "p"}},
    }
    rendering = render(merged(REQUIRED, values))
    assert rendering.of_kind("Secret") == []
    operator = environment(rendering.pods["pipelines-operator"]["spec"]["containers"][0])
    assert operator["PIPELINES_DATABASE_URL"] == {"secretKeyRef": {"name": "supabase", "key": "pooler"}}
    assert operator["PIPELINES_PROGRESS_KEY"] == {"secretKeyRef": {"name": "hmac", "key": "k"}}
    bridge = environment(rendering.pods["pipelines-bridge"]["spec"]["containers"][0])
    assert bridge["PIPELINES_API_KEY_PEPPER"] == {"secretKeyRef": {"name": "keys", "key": "p"}}


def test_the_databases_authority_is_mounted_where_the_database_is_used() -> None:
    rendering = render(merged(REQUIRED, {"database": {"caSecret": {"name": "postgres-ca", "key": "root.pem"}}}))
    expected = {
        "name": "database-ca",
        "secret": {
            "secretName": "postgres-ca",
            "defaultMode": 0o444,
            "items": [{"key": "root.pem", "path": "ca.crt"}],
        },
    }
    used = 0
    for pod in rendering.pods.values():
        assert expected in pod["spec"]["volumes"]
        for container in containers(pod):
            (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "database-ca")
            assert mount["readOnly"] is True
            assert environment(container)["PGSSLROOTCERT"] == mount["mountPath"] + "/ca.crt"
            used += 1
    assert used == 7, "operator, exporter, bridge, the migration of each, and helm test"


def test_without_an_authority_nothing_is_said_about_it(required: Rendering) -> None:
    for pod in required.pods.values():
        assert not [v for v in pod["spec"].get("volumes", []) if v["name"] == "database-ca"]
        assert not [c for c in containers(pod) if "PGSSLROOTCERT" in environment(c)]


def test_the_operators_image_names_the_public_authorities() -> None:
    lines = (ROOT / "images" / "operator" / "Containerfile").read_text().splitlines()
    assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in {line.strip() for line in lines}


def test_a_bigquery_key_is_mounted_where_it_is_used() -> None:
    rendering = render(merged(REQUIRED, {"bigquery": {"keySecret": {"name": "bigquery", "key": "sa.json"}}}))
    expected = {
        "name": "bigquery-key",
        "secret": {
            "secretName": "bigquery",
            "defaultMode": 0o444,
            "items": [{"key": "sa.json", "path": "key.json"}],
        },
    }
    runner = rendering.runner_template()
    exporter = rendering.pods["pipelines-exporter"]["spec"]
    assert runner["volumes"] == [expected]
    assert expected in exporter["volumes"]
    assert runner["volumeMounts"][0] in exporter["containers"][0]["volumeMounts"]
    for env in (environment(runner), environment_of_exporter(rendering)):
        assert env["GOOGLE_APPLICATION_CREDENTIALS"] == runner["volumeMounts"][0]["mountPath"] + "/key.json"
    operator = rendering.pods["pipelines-operator"]["spec"]
    assert expected not in operator["volumes"], "the operator never speaks to BigQuery"


def test_each_organization_has_its_own_keyset_or_key_and_nothing_reads_secrets() -> None:
    rendering = render(REQUIRED)
    template = rendering.runner_template()
    assert environment_of_operator(rendering)["PIPELINES_KEYSET_SECRET"] == "pipelines-keyset-{org}"
    assert not [name for name in environment(template) if name.startswith("PIPELINES_CREDENTIALS_")]
    key = "gcp-kms://projects/p/locations/global/keyRings/pipelines/cryptoKeys/{org}"
    values = {"keysetSecret": "", "sealedOnly": True, "kms": {"key": key, "endpoint": "kms.example.com:443"}}
    rendering = render(merged(REQUIRED, {"credentials": values}))
    template = rendering.runner_template()
    assert environment_of_operator(rendering)["PIPELINES_KEYSET_SECRET"] == ""
    assert environment(template)["PIPELINES_CREDENTIALS_SEALED_ONLY"] == "true"
    assert environment(template)["PIPELINES_CREDENTIALS_KMS_KEY"] == key
    assert environment(template)["PIPELINES_CREDENTIALS_KMS_ENDPOINT"] == "kms.example.com:443"
