{{/* Parts of pods, the same for every workload of the chart. */}}

{{/* Where a pod's files may be written: nowhere but in its volumes. Refuses root and every capability. */}}
{{- define "pipelines.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pipelines.containerSecurityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* An HTTP probe, of the port `http` where no other is named; it names a host only where the server listens on
     loopback, since restricted namespaces refuse it. */}}
{{- define "pipelines.httpProbe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port | default "http" }}
  {{- if .root.Values.hostNetwork }}
  host: 127.0.0.1
  {{- end }}
{{- end -}}

{{/* The fields of a pod that all workloads share: network, pull secrets, security, placement. */}}
{{- define "pipelines.podFields" -}}
{{- $workload := index .root.Values .component -}}
{{- if .root.Values.hostNetwork }}
hostNetwork: true
{{- end }}
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "pipelines.podSecurityContext" . | nindent 2 }}
{{- with $workload.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $workload.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $workload.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $workload.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $workload.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* How a new version replaces the old one: it stands by until the old one has gone. Two pods of one port can't share a
     node's network, so there the old one goes first. */}}
{{- define "pipelines.strategy" -}}
{{- if .Values.hostNetwork -}}
type: Recreate
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- end -}}
{{- end -}}

{{/* Where the API server is, if the values say so, for those that speak to it. */}}
{{- define "pipelines.kubernetesEnv" -}}
{{- if .Values.kubernetesService.host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.kubernetesService.host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.kubernetesService.port | quote }}
{{- end }}
{{- end -}}

{{/* The catalog's ConfigMap, its keys turned back into paths. */}}
{{- define "pipelines.catalogVolume" -}}
name: catalog
configMap:
  name: {{ include "pipelines.fullname" . }}-catalog
  items:
    {{- range $path, $_ := (include "pipelines.catalog" . | fromJson) }}
    - key: {{ $path | replace "/" "." }}
      path: {{ $path }}
    {{- end }}
{{- end -}}

{{- define "pipelines.databaseEnv" -}}
- name: PIPELINES_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "pipelines.databaseSecretName" . }}
      key: {{ include "pipelines.databaseSecretKey" . }}
{{- if .Values.database.caSecret.name }}
- name: PGSSLROOTCERT
  value: /etc/pipelines/database/ca.crt
{{- end }}
{{- end -}}

{{- define "pipelines.databaseCaVolume" -}}
name: database-ca
secret:
  secretName: {{ .Values.database.caSecret.name }}
  # Readable by all of the pod: the container doesn't run as root, to whom the file belongs.
  defaultMode: 0444
  items:
    - key: {{ .Values.database.caSecret.key }}
      path: ca.crt
{{- end -}}

{{- define "pipelines.databaseCaMount" -}}
name: database-ca
mountPath: /etc/pipelines/database
readOnly: true
{{- end -}}

{{/* How BigQuery is reached, for the exporter and the runner. */}}
{{- define "pipelines.bigqueryEnv" -}}
{{- $values := .Values.bigquery -}}
{{- $emulator := $values.emulatorHost -}}
{{- $storage := $values.storageEndpoint -}}
{{- $credentials := $values.credentials | default "default" -}}
{{- if .Values.devServices.enabled -}}
{{- $host := include "pipelines.host" (dict "root" . "component" "dev-services") -}}
{{- $emulator = $emulator | default (printf "http://%s:%v" $host .Values.devServices.ports.bigquery) -}}
{{- $storage = $storage | default (printf "http://%s:%v" $host .Values.devServices.ports.bigqueryGrpc) -}}
{{- $credentials = $values.credentials | default "anonymous" -}}
{{- end -}}
- name: PIPELINES_BIGQUERY_PROJECT
  value: {{ $values.project | quote }}
- name: PIPELINES_BIGQUERY_LOCATION
  value: {{ $values.location | quote }}
- name: PIPELINES_BIGQUERY_CREDENTIALS
  value: {{ $credentials | quote }}
{{- with $emulator }}
- name: BIGQUERY_EMULATOR_HOST
  value: {{ . | quote }}
{{- end }}
{{- with $storage }}
- name: PIPELINES_BIGQUERY_STORAGE_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if $values.keySecret.name }}
- name: GOOGLE_APPLICATION_CREDENTIALS
  value: /etc/pipelines/bigquery/key.json
{{- end }}
{{- end -}}

{{/* Where keys of providers' APIs may be sent: the listed hosts, and with the dev services their simulators, which speak
     no TLS; under the name of their Service, too, as pods of their own namespace know it. */}}
{{- define "pipelines.apiHosts" -}}
{{- $hosts := .Values.credentials.hosts | default list -}}
{{- if .Values.devServices.enabled -}}
{{- $full := include "pipelines.host" (dict "root" . "component" "dev-services") -}}
{{- $known := list $full (ternary $full (printf "%s-dev-services" (include "pipelines.fullname" .)) .Values.hostNetwork) | uniq -}}
{{- range $known -}}
{{- $hosts = append $hosts (printf "http://%s:%v" . $.Values.devServices.ports.simulators) -}}
{{- end -}}
{{- end -}}
{{- join "," $hosts -}}
{{- end -}}

{{- define "pipelines.bigqueryKeyVolume" -}}
name: bigquery-key
secret:
  secretName: {{ .Values.bigquery.keySecret.name }}
  # Readable by all of the pod: the container doesn't run as root, to whom the file belongs.
  defaultMode: 0444
  items:
    - key: {{ .Values.bigquery.keySecret.key }}
      path: key.json
{{- end -}}

{{- define "pipelines.bigqueryKeyMount" -}}
name: bigquery-key
mountPath: /etc/pipelines/bigquery
readOnly: true
{{- end -}}

{{/* Brings the database's tables up to date before the container starts; two at once wait for each other. It asks for what
     its workload asks for: a pod needs the most of the two. */}}
{{- define "pipelines.migrate" -}}
name: migrate
image: {{ include "pipelines.image" (dict "root" .root "name" "operator") }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [python3, -m, pipeline_core.store.migrate]
env: {{- include "pipelines.databaseEnv" .root | nindent 2 }}
securityContext: {{- include "pipelines.containerSecurityContext" .root | nindent 2 }}
resources: {{- toYaml (index .root.Values .component).resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if .root.Values.database.caSecret.name }}
  - {{- include "pipelines.databaseCaMount" .root | nindent 4 }}
  {{- end }}
{{- end -}}
