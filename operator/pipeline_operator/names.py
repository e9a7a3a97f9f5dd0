"""Names in Kubernetes that others rely on: the API group, labels, annotations."""

GROUP = "pipelines.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
RUNS = "pipelineruns"
SCHEDULES = "pipelineschedules"
RUN_KIND = "PipelineRun"

LABEL_ORG = f"{GROUP}/org"
LABEL_PROVIDER = f"{GROUP}/provider"
LABEL_RUN_ID = f"{GROUP}/run-id"
LABEL_SCHEDULE = f"{GROUP}/schedule"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"

# The run's UID on its Job and pods: an owner reference stands on the Job alone.
ANNOTATION_RUN_UID = f"{GROUP}/run-uid"

RUNNER_CONTAINER = "runner"
FIELD_MANAGER = "pipelines-operator"
