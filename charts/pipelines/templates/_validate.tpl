{{/* What the schema can't say: values that depend on each other, each with the way out. */}}
{{- define "pipelines.validate" -}}
{{- if not .Values.env -}}
{{- fail "env: set it to the installation's environment, such as --set env=prod; datasets are named {organization}_{env}" -}}
{{- end -}}
{{- if not .Values.bigquery.project -}}
{{- fail "bigquery.project: set it to the Google Cloud project that holds the organizations' datasets" -}}
{{- end -}}
{{- if and (not .Values.devServices.enabled) (not .Values.database.existingSecret) -}}
{{- fail "database.existingSecret: name a Secret that holds the PostgreSQL URL under the key database.existingSecretKey, or set devServices.enabled=true to try things out" -}}
{{- end -}}
{{- if and .Values.devServices.enabled .Values.database.existingSecret -}}
{{- fail "database.existingSecret: leave it empty with devServices.enabled=true, which bring a database of their own" -}}
{{- end -}}
{{- if and .Values.watch.allNamespaces .Values.watch.namespaces -}}
{{- fail "watch.namespaces: leave it empty with watch.allNamespaces=true, which watches every namespace" -}}
{{- end -}}
{{- if and (eq .Values.tenancy.mode "NamespacePerOrganization") (not .Values.watch.allNamespaces) (not .Values.watch.namespaces) -}}
{{- fail "watch.namespaces: list the organizations' namespaces, or set watch.allNamespaces=true, for tenancy.mode=NamespacePerOrganization; the release's own holds Secrets that no organization may read" -}}
{{- end -}}
{{- if and .Values.bigquery.keySecret.name (eq .Values.bigquery.credentials "anonymous") -}}
{{- fail "bigquery.keySecret.name: leave it empty with bigquery.credentials=anonymous" -}}
{{- end -}}
{{- with .Values.credentials.kms.key -}}
{{- if not (contains "{org}" .) -}}
{{- fail "credentials.kms.key: put {org} into it; with one key for all organizations, each could open the credentials of all" -}}
{{- end -}}
{{- end -}}
{{- if .Values.hostNetwork -}}
{{- range $component := list "operator" "exporter" "bridge" -}}
{{- $workload := index $.Values $component -}}
{{- if and (dig "enabled" true $workload) (gt (int $workload.replicas) 1) -}}
{{- fail (printf "%s.replicas: must be 1 with hostNetwork=true, where two pods can't listen on one port" $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* What shares one network: all pods with hostNetwork, else only the servers of the dev services' pod. */}}
{{- $ports := list -}}
{{- if .Values.hostNetwork -}}
{{- $ports = concat $ports (list (int .Values.operator.port) (int .Values.exporter.port)) -}}
{{- if .Values.bridge.enabled -}}
{{- $ports = concat $ports (list (int .Values.bridge.port) (int .Values.bridge.metricsPort)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.devServices.enabled -}}
{{- range .Values.devServices.ports -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- end -}}
{{- if ne (len $ports) (len (uniq $ports)) -}}
{{- fail (printf "operator.port, exporter.port, bridge.port, bridge.metricsPort, devServices.ports: each must be another one where they share a network; got %s" (join ", " $ports)) -}}
{{- end -}}
{{- if .Values.bridge.enabled -}}
{{- include "pipelines.validateBridge" . -}}
{{- end -}}
{{- if and .Values.kubernetesService.host (not .Values.kubernetesService.port) -}}
{{- fail "kubernetesService.port: set it together with kubernetesService.host" -}}
{{- end -}}
{{- range $path, $_ := .Values.catalog.files -}}
{{- if not (regexMatch `^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*){1,2}\.yml$` $path) -}}
{{- fail (printf "catalog.files: %q must be a path within the catalog, such as gcp/cost/billing.yml" $path) -}}
{{- end -}}
{{- end -}}
{{- $persistence := .Values.devServices.persistence -}}
{{- if and (eq $persistence.type "hostPath") (not $persistence.hostPath) -}}
{{- fail "devServices.persistence.hostPath: set it to an absolute folder of the node for devServices.persistence.type=hostPath" -}}
{{- end -}}
{{- end -}}

{{/* Whether a cluster answers what is looked up. The release's namespace can be read with rights in it alone, but isn't
     there yet with --create-namespace, which takes rights to all namespaces. */}}
{{- define "pipelines.hasCluster" -}}
{{- if or (lookup "v1" "Namespace" "" .Release.Namespace) (lookup "v1" "Namespace" "" "default") -}}
true
{{- end -}}
{{- end -}}

{{/* The same for the bridge's values, where it is enabled. */}}
{{- define "pipelines.validateBridge" -}}
{{- $bridge := .Values.bridge -}}
{{- if eq (int $bridge.port) (int $bridge.metricsPort) -}}
{{- fail (printf "bridge.metricsPort: must be another one than bridge.port; got %d for both" (int $bridge.port)) -}}
{{- end -}}
{{- if .Values.hostNetwork -}}
{{- range $option := list "autoscaling" "ingress" "httpRoute" -}}
{{- if (index $bridge $option).enabled -}}
{{- fail (printf "bridge.%s.enabled: must be false with hostNetwork=true, where the bridge is one pod on its node's loopback, without a Service" $option) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $bridge.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "bridge.autoscaling.minReplicas: must not be more than bridge.autoscaling.maxReplicas; got %d and %d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and $bridge.autoscaling.enabled (not (dig "requests" "cpu" "" $bridge.resources)) -}}
{{- fail "bridge.resources.requests.cpu: set it with bridge.autoscaling.enabled=true, whose target is a share of it" -}}
{{- end -}}
{{- if and $bridge.httpRoute.enabled (not $bridge.httpRoute.parentRefs) -}}
{{- fail "bridge.httpRoute.parentRefs: name the Gateway, such as --set bridge.httpRoute.parentRefs[0].name=public, with bridge.httpRoute.enabled=true" -}}
{{- end -}}
{{- $pepper := $bridge.pepper -}}
{{- if not (or $pepper.existingSecret $pepper.allowEphemeral (include "pipelines.hasCluster" .)) -}}
{{- fail (printf "bridge.pepper.existingSecret: name a Secret that holds the pepper of API keys, since no cluster can be asked for the one that is there (helm template, Argo CD, --dry-run=client), and with a new one every key becomes invalid. Where there is none yet, make it: openssl rand -hex 32 | kubectl create secret generic pipelines-pepper --namespace %s --from-file=%s=/dev/stdin. Or set bridge.pepper.allowEphemeral=true for a preview, with a pepper that changes at each rendering" .Release.Namespace $pepper.existingSecretKey) -}}
{{- end -}}
{{- end -}}
