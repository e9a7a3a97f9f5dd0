"""Values that the chart is rendered with: from the least that it takes to every option."""

import yaml

from support.chart import CHART, LOCAL, REQUIRED, merged

PRODUCTION = yaml.safe_load((CHART / "examples" / "values-production.yaml").read_text())
DEV = merged(LOCAL, {"hostNetwork": False})
EVERYTHING = merged(
    PRODUCTION,
    {
        "image": {"pullSecrets": [{"name": "registry"}]},
        "bigquery": {"keySecret": {"name": "bigquery"}},
        "tenancy": {"mode": "NamespacePerOrganization"},
        "operator": {"priorityClassName": "high", "nodeSelector": {"disk": "ssd"}, "labels": {"team": "data"}},
    },
)
RENDERINGS = {"required": REQUIRED, "production": PRODUCTION, "local": LOCAL, "dev": DEV, "everything": EVERYTHING}
