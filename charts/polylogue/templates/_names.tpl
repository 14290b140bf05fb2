{{- /* Names, labels, images. */ -}}

{{- define "polylogue.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* Short enough for every suffix the chart adds. */ -}}
{{- define "polylogue.fullname" -}}
{{- $name := include "polylogue.name" . -}}
{{- $full := .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) -}}
{{- $full | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "polylogue.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end -}}

{{- define "polylogue.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "polylogue.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- /* What never changes during a release's life. Call with (dict "root" $ "component" "server"). */ -}}
{{- define "polylogue.selector" -}}
app.kubernetes.io/name: {{ include "polylogue.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "polylogue.labels" -}}
{{ include "polylogue.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: polylogue
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The metadata of an object: (dict "root" $ "component" "server" "suffix" "-x" "labels" (dict) "annotations" (dict)). */ -}}
{{- define "polylogue.metadata" -}}
name: {{ include "polylogue.fullname" .root }}{{ .suffix | default "" }}
namespace: {{ include "polylogue.namespace" .root }}
labels:
  {{- $labels := fromYaml (include "polylogue.labels" .) }}
  {{- toYaml (mergeOverwrite $labels (.labels | default dict)) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* (dict "root" $ "image" .Values.image "tag" "the default one") */ -}}
{{- define "polylogue.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- $repository := empty $registry | not | ternary (printf "%s/%s" $registry .image.repository) .image.repository -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.image.tag | default .tag) -}}
{{- end -}}
{{- end -}}

{{- define "polylogue.imagePullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
