{{- /* What a schema cannot say. */}}
{{- define "waykeeper.checks" -}}
{{- $limits := .Values.ratelimit }}
{{- $counts := or $limits.redis.embedded.enabled $limits.redis.existingSecret.name }}
{{- if and $limits.enabled (not $counts) (or $limits.autoscaling.enabled (gt (int $limits.replicas) 1)) }}
{{- fail "ratelimit: several replicas need a Redis, or each counts for itself and limits admit so many times as much: set ratelimit.redis.existingSecret.name or ratelimit.redis.embedded.enabled, or ratelimit.replicas to 1" }}
{{- end }}
{{- if and $limits.redis.embedded.enabled $limits.redis.existingSecret.name }}
{{- fail "ratelimit.redis: existingSecret and embedded name two Redis; choose one" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- fail "metrics.serviceMonitor has nothing to read: set metrics.enabled" }}
{{- end }}
{{- if and .Values.metrics.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.metricsFrom) }}
{{- fail "metrics.enabled: networkPolicy.metricsFrom says who may read them, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" }}
{{- end }}
{{- if and .Values.waypoint.enabled .Values.gateways.deploy (ne .Values.waypoint.identity "token") }}
{{- fail "gateways.deploy: the pods that it makes have tokens and no certificates; set waypoint.identity to token" }}
{{- end }}
{{- if and .Values.waypoint.enabled (eq .Values.waypoint.identity "certificate") (not .Values.waypoint.tlsSecret) }}
{{- fail "waypoint.identity: somebody has to issue Envoys' certificates: set waypoint.tlsSecret, whose ca.crt names who does" }}
{{- end }}
{{- range $name := list "extauth" "ratelimit" }}
{{- if and $.Values.networkPolicy.alsoFrom (include "waykeeper.mutual" (dict "root" $ "part" $name)) }}
{{- fail (printf "networkPolicy.alsoFrom: whoever it lets in has no certificate that waypoint signed, and %s refuses it: set %s.tlsSecret and waypoint.%s, or mutualTls to false" $name $name $name) }}
{{- end }}
{{- if and $.Values.waypoint.enabled (get $.Values $name).enabled (get $.Values $name).tlsSecret (not (get $.Values.waypoint $name)) }}
{{- fail (printf "%s.tlsSecret: Envoys have to be told whom to trust: set waypoint.%s to tls://HOST:PORT?ca=FILE" $name $name) }}
{{- end }}
{{- end }}
{{- end }}
