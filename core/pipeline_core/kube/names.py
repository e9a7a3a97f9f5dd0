"""Names in Kubernetes that others rely on: the API group, labels, annotations."""

GROUP = "pipelines.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
RUNS = "pipelineruns"
SCHEDULES = "pipelineschedules"
RUN_KIND = "PipelineRun"
SCHEDULE_KIND = "PipelineSchedule"

LABEL_ORG = f"{GROUP}/org"
LABEL_PROVIDER = f"{GROUP}/provider"
LABEL_RUN_ID = f"{GROUP}/run-id"
LABEL_SCHEDULE = f"{GROUP}/schedule"
# The id of the backfill that a run belongs to.
LABEL_BACKFILL = f"{GROUP}/backfill"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"

# The run's UID on its Job and pods: an owner reference stands on the Job alone.
ANNOTATION_RUN_UID = f"{GROUP}/run-uid"
# Which request asked for the run, and where it stands in the caller's trace (W3C Trace Context).
ANNOTATION_REQUEST_ID = f"{GROUP}/request-id"
ANNOTATION_TRACEPARENT = f"{GROUP}/traceparent"
# Why a schedule's run was made (`schedules.observed.Cause`), for which tick, and when it was due: RFC 3339 in UTC.
ANNOTATION_CAUSE = f"{GROUP}/cause"
ANNOTATION_TICK = f"{GROUP}/tick"
ANNOTATION_DUE_AT = f"{GROUP}/due-at"
# On a schedule: each new value of it asks for one run now.
ANNOTATION_TRIGGER = f"{GROUP}/trigger"

RUNNER_CONTAINER = "runner"
