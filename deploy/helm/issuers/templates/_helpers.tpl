{{- define "issuers.labels" -}}
app.kubernetes.io/name: issuers
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/part-of: tienda
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
