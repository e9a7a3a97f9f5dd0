{{/* Names, labels and references that more than one template needs. */}}

{{/* The prefix of every object's name: the release's name, with the chart's where that doesn't say it. Short enough
     that the longest suffix fits into 63 characters. */}}
{{- define "pipelines.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of an object without a namespace, of its own for each installation. */}}
{{- define "pipelines.clusterName" -}}
{{- printf "%s-%s.%s" (include "pipelines.fullname" .root) .component .root.Release.Namespace -}}
{{- end -}}

{{- define "pipelines.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "pipelines.labels" -}}
{{ include "pipelines.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: pipelines
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The ServiceAccount of a component; of one that isn't made here, the default one. */}}
{{- define "pipelines.serviceAccountName" -}}
{{- $account := index .root.Values.serviceAccounts .component -}}
{{- if $account.create -}}
{{- $account.name | default (printf "%s-%s" (include "pipelines.fullname" .root) .component) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* A full image reference: by digest where one is given, else by tag, else by the chart's version. */}}
{{- define "pipelines.image" -}}
{{- $image := index .root.Values.image .name -}}
{{- $registry := .root.Values.image.registry | trimSuffix "/" -}}
{{- if $registry }}{{ $registry }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* The namespaces that are watched, as JSON: {"items": [...]}; none where all are. */}}
{{- define "pipelines.watchedNamespaces" -}}
{{- $watched := .Values.watch.namespaces | default (list .Release.Namespace) -}}
{{- dict "items" (ternary list $watched .Values.watch.allNamespaces) | toJson -}}
{{- end -}}

{{/* The namespaces that runs are expected in, as JSON: {"items": [...]}. */}}
{{- define "pipelines.runNamespaces" -}}
{{- $watched := .Values.watch.namespaces | default (list .Release.Namespace) -}}
{{- dict "items" (concat $watched .Values.runner.namespaces | uniq | sortAlpha) | toJson -}}
{{- end -}}

{{/* Selects the namespaces that are watched; what selects every one where all are. */}}
{{- define "pipelines.watchedSelector" -}}
{{- with (include "pipelines.watchedNamespaces" . | fromJson).items -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: In
    values: {{- toYaml . | nindent 6 }}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/* Puts the ValidatingAdmissionPolicy of a name in force where runs are this installation's. */}}
{{- define "pipelines.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels: {{- include "pipelines.labels" (dict "root" .root "component" "operator") | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
  {{- if not .root.Values.watch.allNamespaces }}
  matchResources:
    namespaceSelector: {{- include "pipelines.watchedSelector" .root | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* The address that a server of this chart is reached at, without its port. */}}
{{- define "pipelines.host" -}}
{{- if .root.Values.hostNetwork -}}
127.0.0.1
{{- else -}}
{{- printf "%s-%s.%s.svc" (include "pipelines.fullname" .root) .component .root.Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* The address that a server of this chart listens on. */}}
{{- define "pipelines.listenHost" -}}
{{- ternary "127.0.0.1" "0.0.0.0" .Values.hostNetwork -}}
{{- end -}}

{{- define "pipelines.progressUrl" -}}
{{- printf "http://%s:%v/progress" (include "pipelines.host" (dict "root" . "component" "operator")) .Values.operator.port -}}
{{- end -}}

{{- define "pipelines.databaseSecretName" -}}
{{- .Values.database.existingSecret | default (printf "%s-database" (include "pipelines.fullname" .)) -}}
{{- end -}}

{{- define "pipelines.databaseSecretKey" -}}
{{- ternary .Values.database.existingSecretKey "url" (ne .Values.database.existingSecret "") -}}
{{- end -}}

{{- define "pipelines.progressSecretName" -}}
{{- .Values.progress.existingSecret | default (printf "%s-progress" (include "pipelines.fullname" .)) -}}
{{- end -}}

{{- define "pipelines.progressSecretKey" -}}
{{- ternary .Values.progress.existingSecretKey "key" (ne .Values.progress.existingSecret "") -}}
{{- end -}}

{{- define "pipelines.pepperSecretName" -}}
{{- .Values.bridge.pepper.existingSecret | default (printf "%s-bridge" (include "pipelines.fullname" .)) -}}
{{- end -}}

{{- define "pipelines.pepperSecretKey" -}}
{{- ternary .Values.bridge.pepper.existingSecretKey "pepper" (ne .Values.bridge.pepper.existingSecret "") -}}
{{- end -}}

{{/* A random text that is made once and kept over upgrades: what the Secret in the cluster holds, if it is there.
     Remembered in the values, since the Secret and the pods' checksum must see the same one. */}}
{{- define "pipelines.generated" -}}
{{- $root := .root -}}
{{- $known := get $root.Values "generated" | default dict -}}
{{- $id := printf "%s/%s" .secret .key -}}
{{- if not (hasKey $known $id) -}}
{{- $secret := lookup "v1" "Secret" $root.Release.Namespace .secret -}}
{{- $value := randAlphaNum 40 -}}
{{- if and $secret $secret.data (hasKey $secret.data .key) -}}
{{- $value = index $secret.data .key | b64dec -}}
{{- end -}}
{{- $_ := set $known $id $value -}}
{{- $_ := set $root.Values "generated" $known -}}
{{- end -}}
{{- index $known $id -}}
{{- end -}}

{{- define "pipelines.databasePassword" -}}
{{- include "pipelines.generated" (dict "root" . "secret" (printf "%s-database" (include "pipelines.fullname" .)) "key" "password") -}}
{{- end -}}

{{- define "pipelines.pepper" -}}
{{- include "pipelines.generated" (dict "root" . "secret" (printf "%s-bridge" (include "pipelines.fullname" .)) "key" "pepper") -}}
{{- end -}}

{{- define "pipelines.progressKey" -}}
{{- include "pipelines.generated" (dict "root" . "secret" (printf "%s-progress" (include "pipelines.fullname" .)) "key" "key") -}}
{{- end -}}
