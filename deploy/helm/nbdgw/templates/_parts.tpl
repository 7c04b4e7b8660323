{{- define "nbdgw.image" -}}
{{ .image.repository }}:{{ .image.tag | default .version }}
{{- end }}

{{- define "nbdgw.name" -}}
{{ if eq .Release.Name "nbdgw" }}nbdgw{{ else }}{{ printf "%s-nbdgw" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "nbdgw.selector" -}}
app.kubernetes.io/name: nbdgw
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "nbdgw.labels" -}}
{{ include "nbdgw.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* The container of the gateway, the same in both forms but for its volumes. */}}
{{- define "nbdgw.gateway" -}}
name: gateway
image: {{ include "nbdgw.image" (dict "image" .Values.image "version" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
ports:
  - name: admin
    containerPort: 9810
startupProbe:
  httpGet: {path: /startupz, port: admin}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 120
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 2
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
  terminationGracePeriodSeconds: 10
lifecycle:
  preStop:
    exec:
      command:
        - /usr/bin/nbdgw
        - ctl
        - --address=unix:///run/nbdgw/admin.sock
        - drain
        - --until-idle={{ .Values.gateway.drainSeconds }}s
securityContext:
  runAsNonRoot: true
  runAsUser: 10809
  runAsGroup: 10809
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
resources:
  {{- toYaml .Values.gateway.resources | nindent 2 }}
{{- end }}

{{- /* What is above the containers in both forms. */}}
{{- define "nbdgw.pod" -}}
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  fsGroup: 10809
  fsGroupChangePolicy: OnRootMismatch
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "nbdgw.podMetadata" -}}
labels:
  {{- include "nbdgw.selector" . | nindent 2 }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
