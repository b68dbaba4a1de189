{{- /* What things are called. */}}
{{- define "waykeeper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "waykeeper.fullname" -}}
{{- $name := include "waykeeper.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Of what belongs to no namespace: two installations do not share it. */}}
{{- define "waykeeper.clusterwide" -}}
{{ include "waykeeper.fullname" . }}.{{ .Release.Namespace }}
{{- end }}

{{- /* Labels by which a part's pods are found: (dict "root" $ "part" "extauth"). */}}
{{- define "waykeeper.selector" -}}
app.kubernetes.io/name: {{ include "waykeeper.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "waykeeper.labels" -}}
{{ include "waykeeper.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* (dict "root" $ "image" .image) */}}
{{- define "waykeeper.image" -}}
{{- $registry := default .root.Values.image.registry .image.registry }}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .root.Chart.AppVersion (default .root.Values.image.tag .image.tag) }}{{ end }}
{{- end }}

{{- /* The parts of this release that are servers of ours, in YAML: their names and ports. */}}
{{- define "waykeeper.servers" -}}
{{- if .Values.extauth.enabled }}
- {name: extauth, port: 8083, admin: 9091}
{{- end }}
{{- if .Values.ratelimit.enabled }}
- {name: ratelimit, port: 18081, admin: 18080}
{{- end }}
{{- if .Values.waypoint.enabled }}
- {name: waypoint, port: 9977, admin: 9979}
{{- end }}
{{- end }}

{{- /* Where Envoys find a server: (dict "root" $ "part" "extauth"). */}}
{{- define "waykeeper.host" -}}
{{ include "waykeeper.fullname" .root }}-{{ .part }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end }}

{{- /* Whether Envoys and a server prove to each other who they are, by certificates that waypoint signs:
(dict "root" $ "part" "extauth"). */}}
{{- define "waykeeper.mutual" -}}
{{- $all := .root.Values }}
{{- $values := get $all .part }}
{{- if and $all.mutualTls $all.waypoint.enabled $values.enabled (not $values.tlsSecret) (not (get $all.waypoint .part)) }}true{{ end }}
{{- end }}

{{- /* The Secret with a server's certificate, if it has one: (dict "root" $ "part" "extauth"). */}}
{{- define "waykeeper.certificate" -}}
{{- $own := (get .root.Values .part).tlsSecret }}
{{- if $own }}{{ $own }}{{ else if and (ne .part "waypoint") (include "waykeeper.mutual" .) }}waykeeper-{{ .part }}-tls{{ end }}
{{- end }}

{{- /* Whether waypoint keeps an authority. */}}
{{- define "waykeeper.authority" -}}
{{- if or (not .Values.waypoint.tlsSecret) (include "waykeeper.mutual" (dict "root" . "part" "extauth")) (include "waykeeper.mutual" (dict "root" . "part" "ratelimit")) }}true{{ end }}
{{- end }}

{{- /* What no pod of ours needs. */}}
{{- define "waykeeper.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* As whom pods of ours run. */}}
{{- define "waykeeper.user" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "waykeeper.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}
