{{- /* Labels of every object; component is what it belongs to. */ -}}
{{- define "tienda.labels" -}}
{{ include "tienda.podLabels" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Labels of pods: nothing that changes with a version alone, which would restart what has not changed. */ -}}
{{- define "tienda.podLabels" -}}
{{ include "tienda.selector" . }}
app.kubernetes.io/component: {{ .tier }}
app.kubernetes.io/part-of: tienda
{{- end }}

{{- define "tienda.selector" -}}
app.kubernetes.io/name: {{ .name | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- end }}

{{- define "tienda.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* All components, each with the defaults below its own entry, as JSON. */ -}}
{{- define "tienda.services" -}}
{{- $all := dict -}}
{{- range $name, $own := .Values.services -}}
{{- $service := mergeOverwrite (dict "context" "" "tier" "business" "needs" list "database" false) (deepCopy $.Values.defaults) (deepCopy $own) -}}
{{- $_ := set $service "scales" (and $service.autoscaling.enabled (ne $service.tier "infrastructure") (gt (int $service.replicas.max) (int $service.replicas.min))) -}}
{{- $_ := set $all $name $service -}}
{{- end -}}
{{- /* Whom each calls: what it needs, and the infrastructure. Traces come from those whose requests are traced; the registry
registers with itself. */ -}}
{{- range $name, $service := $all -}}
{{- $calls := $service.needs -}}
{{- range $other, $infrastructure := $all -}}
{{- $itself := and (eq $other $name) (ne $name "service-discovery") -}}
{{- if and (eq $infrastructure.tier "infrastructure") (not $itself) (or (ne $other "zipkin") (ne $service.tier "infrastructure")) -}}
{{- $calls = append $calls $other -}}
{{- end -}}
{{- end -}}
{{- $_ := set $service "calls" ($calls | sortAlpha) -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}

{{- /* The key and the certificate of each component of the shop, as JSON. Those that are there stay. What is made is made once in a rendering and
kept at its root: the pods carry the checksum of what the ConfigMap has. */ -}}
{{- define "tienda.identities" -}}
{{- if not (hasKey . "identities") -}}
{{- $pairs := dict -}}
{{- range $name, $service := include "tienda.services" . | fromJson -}}
{{- if ne $service.tier "infrastructure" -}}
{{- $pair := dict "tier" $service.tier -}}
{{- with (lookup "v1" "Secret" $.Release.Namespace (printf "%s-identity" $name)).data -}}
{{- $_ := set $pair "key" (index . "tls.key" | b64dec) -}}
{{- $_ := set $pair "certificate" (index . "tls.crt" | b64dec) -}}
{{- else -}}
{{- with genSelfSignedCertWithKey $name nil (list $name) 36500 (genPrivateKey "ed25519") -}}
{{- $_ := set $pair "key" .Key -}}
{{- $_ := set $pair "certificate" .Cert -}}
{{- end -}}
{{- end -}}
{{- $_ := set $pairs $name $pair -}}
{{- end -}}
{{- end -}}
{{- $_ := set . "identities" (toJson $pairs) -}}
{{- end -}}
{{- .identities -}}
{{- end }}

{{- /* What is in the ConfigMap with everybody's public key: ours, or the one that is there. */ -}}
{{- define "tienda.publicKeys" -}}
{{- $keys := dict -}}
{{- if .Values.identity.generate -}}
{{- range $name, $pair := include "tienda.identities" . | fromJson }}{{ $_ := set $keys $name $pair.certificate }}{{ end -}}
{{- else -}}
{{- $keys = (lookup "v1" "ConfigMap" .Release.Namespace "identities").data | default dict -}}
{{- end -}}
{{- toJson $keys -}}
{{- end }}

{{- /* Schema and account of a component. */ -}}
{{- define "tienda.schema" -}}
{{ .root.Values.database.prefix }}_{{ .name | trimSuffix "-service" | replace "-" "_" }}
{{- end }}

{{- /* Secret with root-password and, by the name of its schema, the password of each account. */ -}}
{{- define "tienda.databaseSecret" -}}
{{ .Values.database.existingSecret | default "database" }}
{{- end }}

{{- /* How long, in seconds, a component tries to reach its database: the operator's servers take minutes to be made. */ -}}
{{- define "tienda.patience" -}}
{{- int .Values.database.patienceSeconds | default (ternary 900 150 (eq .Values.database.mode "percona")) -}}
{{- end }}

{{- /* The same for the jobs before an upgrade, which may know of components that the Secret does not have yet. */ -}}
{{- define "tienda.databaseJobsSecret" -}}
{{ .Values.database.existingSecret | default "database-jobs" }}
{{- end }}

{{- define "tienda.databaseImage" -}}
{{ .Values.database.image.repository }}:{{ .Values.database.image.tag }}
{{- end }}

{{- /* Name of the operator's cluster, which is also what its pods are labelled with. */ -}}
{{- define "tienda.percona" -}}
{{ .Release.Name | trunc 16 | trimSuffix "-" }}-mysql
{{- end }}

{{- define "tienda.databaseHost" -}}
{{- get (dict "external" .Values.database.external.host "mysql" "mysql" "percona" (print (include "tienda.percona" .) "-haproxy")) .Values.database.mode -}}
{{- end }}

{{- define "tienda.databasePort" -}}
{{- if eq .Values.database.mode "external" }}{{ .Values.database.external.port }}{{ else }}3306{{ end -}}
{{- end }}

{{- /* How connections to a server that is not ours are protected. */ -}}
{{- define "tienda.databaseQuery" -}}
{{- if eq .Values.database.mode "external" -}}
?sslMode={{ .Values.database.external.sslMode }}{{ if .Values.database.external.caSecret }}&serverSslCert=/run/database-ca/ca.crt{{ end -}}
{{- end -}}
{{- end }}

{{- define "tienda.databaseCA" -}}
{{- if eq .Values.database.mode "external" }}{{ .Values.database.external.caSecret }}{{ end -}}
{{- end }}

{{- /* Where whoever talks to such a server finds the authority that its certificate is checked with. */ -}}
{{- define "tienda.databaseCAMount" -}}
{{- if include "tienda.databaseCA" . }}
- {name: database-ca, mountPath: /run/database-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "tienda.databaseCAVolume" -}}
{{- with include "tienda.databaseCA" . }}
- name: database-ca
  secret: {secretName: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}], defaultMode: 0440}
{{- end }}
{{- end }}

{{- /* The environment by which a component reaches its schema. */ -}}
{{- define "tienda.databaseEnv" -}}
- name: SPRING_DATASOURCE_URL
  value: jdbc:mysql://{{ include "tienda.databaseHost" .root }}:{{ include "tienda.databasePort" .root }}/{{ include "tienda.schema" . }}{{ include "tienda.databaseQuery" .root }}
- name: SPRING_DATASOURCE_USERNAME
  value: {{ include "tienda.schema" . | quote }}
- name: SPRING_DATASOURCE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ include "tienda.schema" . | quote }}}}
{{- end }}

{{- define "tienda.goMemoryLimit" -}}
{{ div (mul (include "tienda.amount" . | int) 9) 10 }}MiB
{{- end }}

{{- /* A quantity as a whole number that compares with others of its kind: mebibytes, or thousandths of a processor. */ -}}
{{- define "tienda.amount" -}}
{{- $text := toString . -}}
{{- if hasSuffix "Ti" $text -}}{{ mul (trimSuffix "Ti" $text | int) 1048576 }}
{{- else if hasSuffix "Gi" $text -}}{{ mul (trimSuffix "Gi" $text | int) 1024 }}
{{- else if hasSuffix "Mi" $text -}}{{ trimSuffix "Mi" $text | int }}
{{- else if hasSuffix "m" $text -}}{{ trimSuffix "m" $text | int }}
{{- else -}}{{ mulf (float64 $text) 1000 | int }}
{{- end -}}
{{- end }}

{{- define "tienda.priorityClass" -}}
{{- if .root.Values.priorityClasses.create }}
priorityClassName: {{ .root.Release.Namespace }}-{{ .priority }}
{{- end }}
{{- end }}

{{- /* Annotations that the chart has, and those that somebody adds; none stands twice. */ -}}
{{- define "tienda.annotations" -}}
{{- range $annotation, $its := .theirs -}}
{{- if hasKey $.ours $annotation -}}
{{- fail (printf "%s has %s, which the chart sets to %s itself: leave it out." $.value $annotation (get $.ours $annotation)) -}}
{{- end -}}
{{- end -}}
{{- merge .ours .theirs | toYaml -}}
{{- end }}

{{- /* How a pod asks for names: again after one second, and not after five, which is all the time that a call has. */ -}}
{{- define "tienda.dns" -}}
dnsConfig:
  options: [{name: timeout, value: "1"}, {name: attempts, value: "5"}]
{{- end }}

{{- /* What Pod Security "restricted" asks of a pod, and of a container. */ -}}
{{- define "tienda.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tienda.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "tienda.entryClass" -}}
{{- .Values.entry.className | default (get (dict "nginx" "nginx" "ingress-nginx" "nginx" "gateway" "cilium") .Values.entry.kind) -}}
{{- end }}

{{- /* Where the proxies of the mesh take what is encrypted: Linkerd on a port of their own, Istio's ambient mode on HBONE's. */ -}}
{{- define "tienda.meshPort" -}}
{{- if eq .Values.mesh.kind "linkerd" }}4143{{ else }}15008{{ end -}}
{{- end }}

{{- /* The rule by which a policy lets a pod reach the database. */ -}}
{{- define "tienda.databaseEgress" -}}
- to:
    {{- if eq .Values.database.mode "external" }}
    {{- range .Values.database.external.cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
    {{- else if eq .Values.database.mode "percona" }}
    - podSelector:
        matchLabels: {app.kubernetes.io/instance: {{ include "tienda.percona" . }}}
    {{- else }}
    - podSelector:
        matchLabels: {{- include "tienda.selector" (dict "root" . "name" "mysql") | nindent 10 }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ include "tienda.databasePort" . }}}
{{- end }}

{{- /* When the jobs of the database run. A StatefulSet that is only being installed makes schemas and accounts itself. */ -}}
{{- define "tienda.databaseHook" -}}
helm.sh/hook: {{ if eq .root.Values.database.mode "external" }}pre-install,{{ end }}pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- /* The script that makes a schema and an account for each component that stores something; it may run any number of times,
also while the components serve: it takes no right away in order to give it again.
Without DATABASE_HOST it talks to the server of its own container. */ -}}
{{- define "tienda.accounts" -}}
(
set -eu
MYSQL_PWD=$(cat /run/database/root-password)
export MYSQL_PWD
client() {
  if [ -n "${DATABASE_HOST:-}" ]; then
    mysql --batch --user="$DATABASE_ADMIN" --host="$DATABASE_HOST" --port="$DATABASE_PORT" $DATABASE_OPTIONS "$@"
  else
    mysql --batch --user=root "$@"
  fi
}
until client --execute='SELECT 1' >/dev/null; do
  echo "the database does not answer yet"
  sleep 2
done
for schema in $DATABASE_SCHEMAS; do
  password=$(cat "/run/database/$schema")
  pattern=$(echo "$schema" | sed 's/_/\\_/g') # in a GRANT the underscore stands for any letter
  client <<SQL
CREATE DATABASE IF NOT EXISTS \`$schema\` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE USER IF NOT EXISTS '$schema'@'%' IDENTIFIED BY '$password';
ALTER USER '$schema'@'%' IDENTIFIED BY '$password';
GRANT ALL PRIVILEGES ON \`$pattern\`.* TO '$schema'@'%';
SQL
  echo "$schema has its schema and its account"
done
{{- if .Values.backup.bucket }}
backup={{ include "tienda.schema" (dict "root" . "name" "backup") }} # no schema: it reads all of them, and the binary logs
password=$(cat "/run/database/$backup")
client <<SQL
CREATE USER IF NOT EXISTS '$backup'@'%' IDENTIFIED BY '$password';
ALTER USER '$backup'@'%' IDENTIFIED BY '$password';
GRANT SELECT, SHOW VIEW, TRIGGER, LOCK TABLES ON \`{{ .Values.database.prefix }}\\_%\`.* TO '$backup'@'%';
GRANT RELOAD, REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO '$backup'@'%';
SQL
echo "$backup may take backups"
{{- end }}
)
{{- end }}

{{- define "tienda.schemas" -}}
{{- $schemas := list -}}
{{- range $name, $service := .Values.services -}}
{{- if $service.database }}{{ $schemas = append $schemas (include "tienda.schema" (dict "root" $ "name" $name)) }}{{ end -}}
{{- end -}}
{{- join " " $schemas -}}
{{- end }}

{{- /* The job that runs the script of the accounts, with the passwords of a secret, for so many seconds at most. */ -}}
{{- define "tienda.accountsJob" -}}
backoffLimit: 3
activeDeadlineSeconds: {{ .seconds }}
template:
  metadata:
    labels: {{- (include "tienda.labels" (dict "root" .root "name" "database-jobs" "tier" "job")) | nindent 6 }}
  spec:
    restartPolicy: OnFailure
    automountServiceAccountToken: false
    enableServiceLinks: false
    {{- include "tienda.dns" . | nindent 4 }}
    securityContext: {{- include "tienda.podSecurity" 999 | nindent 6 }}
    {{- with .root.Values.imagePullSecrets }}
    imagePullSecrets: {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: accounts
        image: {{ include "tienda.databaseImage" .root | quote }}
        imagePullPolicy: {{ .root.Values.database.image.pullPolicy }}
        command: [bash, -c]
        args:
          - | {{- include "tienda.accounts" .root | nindent 12 }}
        env:
          - {name: DATABASE_SCHEMAS, value: {{ include "tienda.schemas" .root | quote }}}
          - {name: DATABASE_HOST, value: {{ include "tienda.databaseHost" .root | quote }}}
          - {name: DATABASE_PORT, value: {{ include "tienda.databasePort" .root | quote }}}
          {{- if eq .root.Values.database.mode "external" }}
          - {name: DATABASE_ADMIN, value: {{ .root.Values.database.external.adminUser | quote }}}
          - {name: DATABASE_OPTIONS, value: --ssl-mode={{ .root.Values.database.external.sslMode }}{{ if include "tienda.databaseCA" .root }} --ssl-ca=/run/database-ca/ca.crt{{ end }}}
          {{- else }}
          - {name: DATABASE_ADMIN, value: root}
          - {name: DATABASE_OPTIONS, value: ""}
          {{- end }}
        resources:
          requests: {cpu: 10m, memory: 32Mi, ephemeral-storage: 16Mi}
          limits: {memory: 128Mi, ephemeral-storage: 128Mi}
        securityContext: {{- include "tienda.containerSecurity" . | nindent 10 }}
        volumeMounts:
          - {name: database, mountPath: /run/database, readOnly: true}
          {{- include "tienda.databaseCAMount" .root | nindent 10 }}
    volumes:
      - name: database
        secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}
      {{- include "tienda.databaseCAVolume" .root | nindent 6 }}
{{- end }}

{{- /* A pod that works on backups: the program, copied into a container of the image that has the database's tools. Of is name, args,
resources, space (of its scratch disk), login ("", "backup" or "root") and identity (a secret with a private key). */ -}}
{{- define "tienda.backupPod" -}}
{{- $ := .root -}}
metadata:
  labels: {{- include "tienda.labels" (dict "root" $ "name" .name "tier" "backup") | nindent 4 }}
spec:
  {{- if .job }}
  restartPolicy: Never
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- include "tienda.dns" . | nindent 2 }}
  {{- include "tienda.priorityClass" (dict "root" $ "priority" "backup") | nindent 2 }}
  securityContext: {{- include "tienda.podSecurity" 65532 | nindent 4 }}
  {{- with $.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  initContainers:
    - name: program
      image: {{ include "tienda.image" $ | quote }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      args: [backup, install, /opt/tienda]
      resources:
        requests: {cpu: 10m, memory: 32Mi, ephemeral-storage: 16Mi}
        limits: {memory: 128Mi, ephemeral-storage: 64Mi}
      securityContext: {{- include "tienda.containerSecurity" $ | nindent 8 }}
      volumeMounts:
        - {name: program, mountPath: /opt/tienda}
  containers:
    - name: {{ .name | quote }}
      image: {{ $.Values.backup.image.repository }}:{{ $.Values.backup.image.tag }}
      imagePullPolicy: {{ $.Values.backup.image.pullPolicy }}
      command: [/opt/tienda/tienda]
      args: {{- toYaml .args | nindent 8 }}
      env:
        - {name: TIENDA_BACKUP_BUCKET, value: {{ $.Values.backup.bucket | quote }}}
        {{- with $.Values.backup.region }}
        - {name: TIENDA_BACKUP_REGION, value: {{ . | quote }}}
        {{- end }}
        - name: TIENDA_BACKUP_OWNER
          {{- with $.Values.backup.owner }}
          value: {{ . | quote }}
          {{- else }}
          valueFrom: {configMapKeyRef: {name: backup-owner, key: owner}}
          {{- end }}
        - name: AWS_ACCESS_KEY_ID
          valueFrom: {secretKeyRef: {name: {{ $.Values.backup.existingSecret | quote }}, key: access-key}}
        - name: AWS_SECRET_ACCESS_KEY
          valueFrom: {secretKeyRef: {name: {{ $.Values.backup.existingSecret | quote }}, key: secret-key}}
        {{- if .identity }}
        - {name: TIENDA_BACKUP_IDENTITY_FILE, value: /run/identity/identity}
        {{- else }}
        - {name: TIENDA_BACKUP_RECIPIENTS, value: {{ join "," $.Values.backup.recipients | quote }}}
        {{- end }}
        {{- if eq .login "backup" }}
        {{- include "tienda.databaseEnv" (dict "root" $ "name" "backup" "secret" (include "tienda.databaseSecret" $)) | nindent 8 }}
        {{- else if eq .login "root" }}
        {{- include "tienda.adminEnv" $ | nindent 8 }}
        - name: TIENDA_RESTORE_BACKUP
          valueFrom: {secretKeyRef: {name: restore, key: backup, optional: true}}
        - name: TIENDA_RESTORE_UNTIL
          valueFrom: {secretKeyRef: {name: restore, key: until, optional: true}}
        {{- end }}
        - {name: GOMEMLIMIT, value: 96MiB}
        - {name: SSL_CERT_FILE, value: /opt/tienda/ca-certificates.crt}
        - {name: TMPDIR, value: /spool}
      {{- with .ports }}
      ports: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .probes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      # The kubelet counts the scratch disk against the limit of the pod.
      resources: {{- merge (dict "limits" (dict "ephemeral-storage" .space)) .resources | toYaml | nindent 8 }}
      securityContext: {{- include "tienda.containerSecurity" $ | nindent 8 }}
      volumeMounts:
        - {name: program, mountPath: /opt/tienda, readOnly: true}
        - {name: spool, mountPath: /spool}
        {{- if .login }}
        {{- include "tienda.databaseCAMount" $ | nindent 8 }}
        {{- end }}
        {{- if .identity }}
        - {name: identity, mountPath: /run/identity, readOnly: true}
        {{- end }}
  volumes:
    - name: program
      emptyDir: {sizeLimit: 128Mi}
    - name: spool
      emptyDir: {sizeLimit: {{ .space | quote }}}
    {{- if .login }}
    {{- include "tienda.databaseCAVolume" $ | nindent 4 }}
    {{- end }}
    {{- if .identity }}
    - name: identity
      secret: {secretName: {{ .identity | quote }}, items: [{key: identity, path: identity}], defaultMode: 0440}
    {{- end }}
{{- end }}

{{- /* The environment by which a restore reaches the server as its administrator. */ -}}
{{- define "tienda.adminEnv" -}}
{{- $user := "root" -}}
{{- if eq .Values.database.mode "external" }}{{ $user = .Values.database.external.adminUser }}{{ end -}}
- name: SPRING_DATASOURCE_URL
  value: jdbc:mysql://{{ include "tienda.databaseHost" . }}:{{ include "tienda.databasePort" . }}/{{ include "tienda.databaseQuery" . }}
- name: SPRING_DATASOURCE_USERNAME
  value: {{ $user | quote }}
- name: SPRING_DATASOURCE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "tienda.databaseSecret" . | quote }}, key: root-password}}
{{- end }}

{{- /* The rule by which a policy lets a pod reach the bucket. */ -}}
{{- define "tienda.bucketEgress" -}}
{{- $url := urlParse .Values.backup.bucket -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "80" "443" (eq $url.scheme "http")) -}}
- to:
    {{- range .Values.backup.cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ $port }}}
{{- end }}

{{- /* Which pods of backups work with the database. */ -}}
{{- define "tienda.backupsOfDatabase" -}}
matchExpressions:
  - {key: app.kubernetes.io/name, operator: In, values: [backup, backup-ship, restore]}
  - {key: app.kubernetes.io/instance, operator: In, values: [{{ .Release.Name | quote }}]}
{{- end }}
