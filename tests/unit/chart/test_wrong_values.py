"""Wrong values are refused before anything is installed, with words that name the value and say what to do."""

from typing import Any

import pytest

from support.chart import LOCAL, REQUIRED, merged, render_error

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env": ""}, ["env: set it to the installation's environment, such as --set env=prod"]),
        ({"env": "Prod"}, ["'/env'", "'Prod' does not match pattern '^[a-z0-9]{0,16}$'"]),
        ({"env": 7}, ["'/env'", "want string"]),
        ({"bigquery": {"project": ""}}, ["bigquery.project: set it to the Google Cloud project"]),
        ({"bigquery": {"credentials": "key"}}, ["'/bigquery/credentials'", "'default', 'anonymous'"]),
        (
            {"bigquery": {"credentials": "anonymous", "keySecret": {"name": "key"}}},
            ["bigquery.keySecret.name: leave it empty with bigquery.credentials=anonymous"],
        ),
        ({"database": {"existingSecret": ""}}, ["database.existingSecret: name a Secret", "devServices.enabled=true"]),
        ({"database": {"url": "postgresql://u:p@h/d"}}, ["'/database'", "'url' not allowed"]),
        ({"devServices": {"enabled": True}}, ["database.existingSecret: leave it empty with devServices.enabled=true"]),
        ({"replicas": 2}, ["'replicas' not allowed"]),
        ({"credentials": {"keysetSecret": "keyset"}}, ["'/credentials/keysetSecret'", "'keyset'"]),
        ({"credentials": {"keysetSecret": "Keys-{org}"}}, ["'/credentials/keysetSecret'"]),
        ({"credentials": {"hosts": []}}, ["'/credentials/hosts'"]),
        ({"credentials": {"hosts": ["http://gateway.example.com"]}}, ["'/credentials/hosts/0'"]),
        ({"credentials": {"hosts": ["gateway.example.com:65536"]}}, ["'/credentials/hosts/0'"]),
        ({"credentials": {"hosts": ["*.example.com"]}}, ["'/credentials/hosts/0'"]),
        ({"credentials": {"kms": {"endpoint": "http://kms.example.com"}}}, ["'/credentials/kms/endpoint'"]),
        ({"credentials": {"sealedOnly": "yes"}}, ["'/credentials/sealedOnly'", "want boolean"]),
        ({"credentials": {"kms": {"key": "acme/{org}"}}}, ["'/credentials/kms/key'"]),
        (
            {"credentials": {"kms": {"key": "projects/p/locations/l/keyRings/r/cryptoKeys/k"}}},
            ["credentials.kms.key: put {org} into it"],
        ),
        ({"operator": {"replicas": "2"}}, ["'/operator/replicas'", "want integer"]),
        ({"operator": {"port": 70000}}, ["'/operator/port'", "maximum"]),
        ({"operator": {"logLevel": "loud"}}, ["'/operator/logLevel'", "'DEBUG', 'INFO', 'WARNING', 'ERROR'"]),
        ({"operator": {"env": [{"value": "x"}]}}, ["'/operator/env/0'", "missing property 'name'"]),
        ({"watch": {"namespaces": ["Team_A"]}}, ["'/watch/namespaces/0'", "'Team_A'"]),
        ({"watch": {"namespaces": "team-a"}}, ["'/watch/namespaces'", "want array"]),
        (
            {"watch": {"namespaces": ["a"], "allNamespaces": True}},
            ["watch.namespaces: leave it empty with watch.allNamespaces=true"],
        ),
        ({"tenancy": {"mode": "PerNamespace"}}, ["'/tenancy/mode'", "'Shared', 'NamespacePerOrganization'"]),
        (
            {"tenancy": {"mode": "NamespacePerOrganization"}},
            ["watch.namespaces: list the organizations' namespaces, or set watch.allNamespaces=true"],
        ),
        ({"image": {"operator": {"tag": "a b"}}}, ["'/image/operator/tag'"]),
        ({"image": {"operator": {"digest": "abc"}}}, ["'/image/operator/digest'"]),
        (
            {"catalog": {"files": {"../billing.yml": "x"}}},
            ['catalog.files: "../billing.yml" must be a path within the catalog'],
        ),
        (
            {"processors": {"packages": ["os.path*"]}},
            ["'/processors/packages/0'"],
        ),
        (
            {"catalog": {"files": {"gcp/cost/billing.yml": {"pipeline": 1}}}},
            ["'/catalog/files/gcp~1cost~1billing.yml'"],
        ),
        ({"kubernetesService": {"host": "127.0.0.1"}}, ["kubernetesService.port: set it together with"]),
        ({"bridge": {"replicas": "2"}}, ["'/bridge/replicas'", "want integer"]),
        ({"bridge": {"requestsPerMinute": 0}}, ["'/bridge/requestsPerMinute'", "minimum"]),
        ({"bridge": {"metricsPort": 8001}}, ["bridge.metricsPort: must be another one than bridge.port; got 8001"]),
        ({"bridge": {"pepper": {"value": "x"}}}, ["'/bridge/pepper'", "'value' not allowed"]),
        (
            {"bridge": {"autoscaling": {"enabled": True, "minReplicas": 7}}},
            ["bridge.autoscaling.minReplicas: must not be more than bridge.autoscaling.maxReplicas; got 7 and 6"],
        ),
        (
            {"bridge": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}},
            ["bridge.resources.requests.cpu: set it with bridge.autoscaling.enabled=true"],
        ),
        ({"bridge": {"ingress": {"hosts": ["https://a.example.com"]}}}, ["'/bridge/ingress/hosts/0'"]),
        ({"bridge": {"ingress": {"tls": [{"hosts": ["a.example.com"]}]}}}, ["missing property 'secretName'"]),
        (
            {"bridge": {"httpRoute": {"enabled": True}}},
            ["bridge.httpRoute.parentRefs: name the Gateway", "--set bridge.httpRoute.parentRefs[0].name=public"],
        ),
        ({"networkPolicy": {"bridgeFrom": {"podSelector": {}}}}, ["'/networkPolicy/bridgeFrom'", "want array"]),
    ],
)
def test_values_are_refused(changes: dict[str, Any], words: list[str]) -> None:
    message = render_error(merged(REQUIRED, changes))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operator": {"replicas": 2}}, ["operator.replicas: must be 1 with hostNetwork=true"]),
        ({"exporter": {"replicas": 2}}, ["exporter.replicas: must be 1 with hostNetwork=true"]),
        ({"bridge": {"replicas": 2}}, ["bridge.replicas: must be 1 with hostNetwork=true"]),
        (
            {"bridge": {"autoscaling": {"enabled": True}}},
            ["bridge.autoscaling.enabled: must be false with hostNetwork"],
        ),
        ({"bridge": {"ingress": {"enabled": True}}}, ["bridge.ingress.enabled: must be false with hostNetwork=true"]),
        ({"bridge": {"httpRoute": {"enabled": True}}}, ["bridge.httpRoute.enabled: must be false with hostNetwork"]),
        ({"bridge": {"port": 8080}}, ["bridge.port, bridge.metricsPort, devServices.ports: each must be another one"]),
        (
            {"devServices": {"persistence": {"type": "hostPath"}}},
            ["devServices.persistence.hostPath: set it to an absolute folder of the node"],
        ),
        ({"devServices": {"persistence": {"hostPath": "data"}}}, ["'/devServices/persistence/hostPath'"]),
        ({"devServices": {"ports": {"postgres": 0}}}, ["'/devServices/ports/postgres'"]),
        ({"exporter": {"port": 8080}}, ["operator.port, exporter.port, bridge.port", "each must be another one"]),
        ({"devServices": {"ports": {"bigquery": 8080}}}, ["each must be another one", "8080, 8081, 8001, 8002, 8080"]),
        (
            {"hostNetwork": False, "devServices": {"ports": {"bigqueryGrpc": 5432}}},
            ["each must be another one", "5432"],
        ),
        ({"devServices": {"ports": {"simulators": 8001}}}, ["each must be another one", "8001"]),
    ],
)
def test_local_values_are_refused(changes: dict[str, Any], words: list[str]) -> None:
    message = render_error(merged(LOCAL, changes))
    for word in words:
        assert word in message
