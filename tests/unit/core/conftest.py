"""A catalog in a temporary folder, to break in one place at a time."""

from collections.abc import Callable
from pathlib import Path

import pytest

PROVIDERS = """\
providers:
  gcp:
    display_name: Google Cloud
    credential_kind: service_account
    settings:
      billing_project_id: {}
      billing_dataset_id: {}
      billing_table:
        default: gcp_billing_export
  anthropic:
    display_name: Anthropic
    credential_kind: admin_key
  demo:
    display_name: Demo
    credential_kind: none
    integration_required: false
"""

# The example of the specification, to the letter.
SPECIFIED_BILLING = """\
pipeline:
  name: gcp_billing
  display_name: GCP Billing Extraction
  provider: gcp
  domain: cost
  version: "1.0"

processor:
  class: ExternalBQExtractor
  module: src.core.processors.gcp.external_bq_extractor

source:
  type: bigquery
  dataset: "{{billing_dataset_id}}"
  table: gcp_billing_export
  project: "{{billing_project_id}}"

target:
  type: bigquery
  dataset: "{{org_slug}}_{{env}}"
  table: gcp_billing_costs

parameters:
  date:
    type: string
    required: false
    default: "{{yesterday}}"
  start_date:
    type: string
    required: false
  end_date:
    type: string
    required: false

schedule:
  default_cron: "0 */6 * * *"  # Every 6 hours
  enabled: true
"""

# Only the seven fields that every config must have.
SMALLEST = """\
pipeline:
  name: {name}
  provider: {provider}
  domain: {domain}
processor:
  class: SomeProcessor
  module: pipeline_runner.processors.some
target:
  dataset: "{{{{org_slug}}}}_{{{{env}}}}"
  table: some_table
"""


class CatalogFolder:
    """A folder that holds a valid catalog until a test writes something else into it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("system/providers.yml", PROVIDERS)
        self.write("gcp/cost/billing.yml", SPECIFIED_BILLING)

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def write_smallest(self, path: str, *, provider: str, domain: str, name: str, more: str = "") -> Path:
        return self.write(path, SMALLEST.format(provider=provider, domain=domain, name=name) + more)

    def edit_billing(self, old: str, new: str) -> None:
        assert SPECIFIED_BILLING.count(old) == 1, old
        self.write("gcp/cost/billing.yml", SPECIFIED_BILLING.replace(old, new))


@pytest.fixture
def folder(tmp_path: Path) -> CatalogFolder:
    return CatalogFolder(tmp_path / "configs")


@pytest.fixture
def billing_with(folder: CatalogFolder) -> Callable[[str, str], Path]:
    """The catalog's root after one edit of the billing config."""

    def edit(old: str, new: str) -> Path:
        folder.edit_billing(old, new)
        return folder.root

    return edit
