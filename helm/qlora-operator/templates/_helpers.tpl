{{- define "qlora-operator.labels" -}}
app.kubernetes.io/name: qlora-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "qlora-operator.selector" -}}
app.kubernetes.io/name: qlora-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels, and those by which a Prometheus or Grafana finds the object: (list ROOT LABELS). */}}
{{- define "qlora-operator.metrics.labels" -}}
{{- include "qlora-operator.labels" (index . 0) }}
{{- with index . 1 }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the operator may do, in the alphabetical order of the resources. Each verb is used. */}}
{{- define "qlora-operator.rules" -}}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete, get, list, watch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  verbs: [delete, get, list, watch]
- apiGroups: [qlora.dev]
  resources: [qlorajobs]
  verbs: [delete, get, list, watch]
- apiGroups: [qlora.dev]
  resources: [qlorajobs/finalizers]
  verbs: [update]
- apiGroups: [qlora.dev]
  resources: [qlorajobs/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [create, delete, get, list, watch]
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end -}}
