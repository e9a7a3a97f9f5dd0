{{/* The files of the catalog, path to text: those in the chart, changed by catalog.files; an empty text removes one. */}}
{{- define "pipelines.catalog" -}}
{{- $files := dict -}}
{{- range $path, $bytes := .Files.Glob "files/configs/**" -}}
{{- $_ := set $files (trimPrefix "files/configs/" $path) (toString $bytes) -}}
{{- end -}}
{{- range $path, $text := .Values.catalog.files -}}
{{- if $text -}}
{{- $_ := set $files $path $text -}}
{{- else -}}
{{- $_ := unset $files $path -}}
{{- end -}}
{{- end -}}
{{- toJson $files -}}
{{- end -}}
