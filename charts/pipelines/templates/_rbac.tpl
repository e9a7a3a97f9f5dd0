{{/* What the operator may do where runs are; nothing about Secrets or ConfigMaps. */}}
{{- define "pipelines.operatorRules" -}}
- apiGroups: [pipelines.dev]
  resources: [pipelineruns]
  # Made of schedules, cancelled by their concurrencyPolicy Replace.
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [pipelines.dev]
  resources: [pipelineschedules]
  verbs: [get, list, watch]
- apiGroups: [pipelines.dev]
  resources: [pipelineruns/status, pipelineschedules/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- if eq .Values.tenancy.mode "NamespacePerOrganization" }}
# The namespace's own object, whose label names its organization: in a Role this is that one namespace alone.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}
{{- end -}}

{{/* The operator's ServiceAccount as the subject of a binding. */}}
{{- define "pipelines.operatorSubject" -}}
kind: ServiceAccount
name: {{ include "pipelines.serviceAccountName" (dict "root" . "component" "operator") }}
namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* What the bridge may do where runs are: make runs and schedules, and read runs' logs. Never Jobs, never Secrets. */}}
{{- define "pipelines.bridgeRules" -}}
- apiGroups: [pipelines.dev]
  resources: [pipelineruns]
  verbs: [get, create, patch]
- apiGroups: [pipelines.dev]
  resources: [pipelineschedules]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- if eq .Values.tenancy.mode "NamespacePerOrganization" }}
# Whose label names an organization: it is asked for among all, or read where the namespaces are listed; in a Role that is
# the one namespace alone.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [{{ ternary "list" "get" .Values.watch.allNamespaces }}]
{{- end }}
{{- end -}}

{{/* The bridge's ServiceAccount as the subject of a binding. */}}
{{- define "pipelines.bridgeSubject" -}}
kind: ServiceAccount
name: {{ include "pipelines.serviceAccountName" (dict "root" . "component" "bridge") }}
namespace: {{ .Release.Namespace }}
{{- end -}}
