{{/* What the operator may do where runs are; nothing about Secrets or ConfigMaps. */}}
{{- define "pipelines.operatorRules" -}}
- apiGroups: [pipelines.dev]
  resources: [pipelineruns]
  verbs: [get, list, watch, delete]
- apiGroups: [pipelines.dev]
  resources: [pipelineruns/status]
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
