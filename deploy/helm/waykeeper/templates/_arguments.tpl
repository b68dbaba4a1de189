{{- /* How each server is told what to do. Each: (dict "root" $ "values" .Values.extauth). */}}
{{- define "waykeeper.extauth.args" -}}
{{- with .values.secretNamespaces }}
- --secret-namespaces={{ join "," . }}
{{- end }}
{{- include "waykeeper.tls.args" . }}
{{- end }}

{{- define "waykeeper.tls.args" -}}
{{- if include "waykeeper.certificate" . }}
- --grpc-tls=/etc/waykeeper/tls
{{- if include "waykeeper.mutual" . }}
- --grpc-client-ca=/etc/waykeeper/tls/ca.crt
- --grpc-client-name=envoys.waykeeper.dev
{{- end }}
{{- end }}
{{- end }}

{{- /* Where Envoys ask a server of this release. */}}
{{- define "waykeeper.asked" -}}
{{ if include "waykeeper.mutual" . }}mtls://{{ end }}{{ include "waykeeper.host" . }}
{{- end }}

{{- define "waykeeper.ratelimit.args" -}}
{{- include "waykeeper.tls.args" . }}
{{- if include "waykeeper.sentinels" .root }}
- --redis-sentinel-auth=/etc/waykeeper/redis/password
{{- end }}
{{- $most := ternary .values.autoscaling.maxReplicas .values.replicas .values.autoscaling.enabled }}
{{- if gt (int $most) 1 }}
- --quota-replicas={{ $most }}
- --redis-replicas={{ $most }}
{{- end }}
{{- end }}

{{- define "waykeeper.ratelimit.env" -}}
{{- $redis := .values.redis }}
{{- if $redis.embedded.enabled }}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "waykeeper.fullname" .root }}-redis, key: url}}
{{- else if $redis.existingSecret.name }}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $redis.existingSecret.name }}, key: {{ $redis.existingSecret.key }}}}
{{- end }}
{{- end }}

{{- define "waykeeper.waypoint.args" -}}
- --class={{ join "," .values.classes }}
- --controller-name={{ .values.controllerName }}
- --trust-domain={{ .values.trustDomain }}
{{- $extauth := .values.extauth }}
{{- if and (not $extauth) .root.Values.extauth.enabled }}
{{- $extauth = printf "%s:8083" (include "waykeeper.asked" (dict "root" .root "part" "extauth")) }}
{{- end }}
{{- with $extauth }}
- --extauth={{ . }}
{{- end }}
{{- $ratelimit := .values.ratelimit }}
{{- if and (not $ratelimit) .root.Values.ratelimit.enabled }}
{{- $ratelimit = printf "%s:18081" (include "waykeeper.asked" (dict "root" .root "part" "ratelimit")) }}
{{- end }}
{{- with $ratelimit }}
- --ratelimit={{ . }}
{{- end }}
{{- $host := include "waykeeper.host" (dict "root" .root "part" "waypoint") }}
{{- if .values.tlsSecret }}
- --tls-cert=/etc/waykeeper/tls/tls.crt
- --tls-key=/etc/waykeeper/tls/tls.key
{{- else }}
- --tls-host={{ $host }}
{{- end }}
{{- if eq .values.identity "certificate" }}
- --client-ca=/etc/waykeeper/tls/ca.crt
{{- end }}
{{- $gateways := .root.Values.gateways }}
{{- if $gateways.deploy }}
- --deploy
- --proxy-image={{ include "waykeeper.image" (dict "root" .root "image" $gateways.image) }}
- --proxy-xds={{ $host }}:9977
{{- if .values.tlsSecret }}
- --proxy-ca=/etc/waykeeper/tls/ca.crt
{{- end }}
- --proxy-cpu={{ $gateways.cpu }}
- --proxy-memory={{ $gateways.memory }}
{{- with $gateways.pullSecrets }}
- --proxy-pull-secrets={{ join "," . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Whether the embedded Redis is several. */}}
{{- define "waykeeper.sentinels" -}}
{{- $redis := .Values.ratelimit.redis.embedded }}
{{- if and $redis.enabled (eq $redis.mode "sentinel") }}yes{{- end }}
{{- end }}
