{{- define "segstream.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "segstream.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "segstream.labels" -}}
{{ include "segstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "segstream.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "segstream.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "segstream.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "segstream.port" -}}
{{ dig "metrics" "port" 9464 .Values.settings | int }}
{{- end }}

{{/* "true" where some table needs one instance to own every partition */}}
{{- define "segstream.alone" -}}
{{- range $topic, $table := .Values.settings.tables }}{{ if eq (dig "partitioned_by" "none" $table) "none" }}true{{ end }}{{ end }}
{{- end }}

{{/* What contradicts itself must not be installed: it would look well until the first rebalance or stop. */}}
{{- define "segstream.check" -}}
{{- $drain := dig "drain_s" 25 .Values.settings | float64 }}
{{- $poll := divf (dig "max.poll.interval.ms" 300000 .Values.settings.kafka | float64) 1000 }}
{{- if lt (float64 .Values.terminationGracePeriodSeconds) (addf $drain 5) }}
{{- fail (printf "terminationGracePeriodSeconds is %v, but settings.drain_s is %v: the pod would be killed while it drains; make it at least %v" .Values.terminationGracePeriodSeconds $drain (addf $drain 5)) }}
{{- end }}
{{- if ge $drain $poll }}
{{- fail (printf "settings.drain_s is %v, but max.poll.interval.ms is %v s: the group would take the partitions away during a drain" $drain $poll) }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (include "segstream.alone" .) }}
{{- fail (printf "replicas is %v, but a table is partitioned_by none: one instance must own all its partitions" .Values.replicas) }}
{{- end }}
{{- if has (dig "metrics" "host" "0.0.0.0" .Values.settings) (list "127.0.0.1" "localhost" "::1") }}
{{- fail "settings.metrics.host is this machine alone: the probes could not reach it" }}
{{- end }}
{{- if eq (int (include "segstream.port" .)) 0 }}
{{- fail "settings.metrics.port is 0, any free one: the probes could not find it" }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if or (hasPrefix "SEGSTREAM_METRICS" .name) (eq .name "SEGSTREAM_DRAIN_S") }}
{{- fail (printf "extraEnv sets %s, which this chart reads from settings: set it there" .name) }}
{{- end }}
{{- end }}
{{- end }}
