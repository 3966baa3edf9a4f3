{{/* What the operator may do where runs live. Framework: needed by kopf. Application: needed by our own code. */}}
{{- define "hardening.rules" -}}
# Application: runs, monitors and approvals, and their status, which is all the operator writes of them.
- apiGroups: [hardening.dev]
  resources: [hardeningruns, hardeningmonitors, promotionapprovals]
  verbs: [get, list, watch]
- apiGroups: [hardening.dev]
  resources: [hardeningruns/status, hardeningmonitors/status]
  verbs: [patch, update]
# Application: a monitor with `onRegression: Rerun` creates the run that hardens again.
- apiGroups: [hardening.dev]
  resources: [hardeningruns]
  verbs: [create]
# Application: children name their owner with blockOwnerDeletion; clusters that check this ask for this right.
- apiGroups: [hardening.dev]
  resources: [hardeningruns/finalizers, hardeningmonitors/finalizers]
  verbs: [update]
# Application: the stages, and the checks of monitors.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# Application: how the stages' pods fare; they are made, and removed, by their Jobs.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# Application: a stage's config, its nodes' names, and a workspace; they go with their run or monitor, without our doing.
- apiGroups: [""]
  resources: [configmaps, services, persistentvolumeclaims]
  verbs: [get, create, patch]
{{- if .Values.stages.networkPolicies }}
# Application: what a stage may reach.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, patch]
{{- end }}
# Application: events on runs and monitors; the same one again is counted.
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
{{- end }}

{{/* What only an operator that watches the whole cluster needs besides. */}}
{{- define "hardening.clusterRules" -}}
# Framework: kopf looks for the kinds and namespaces it serves.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}

{{- define "hardening.subjects" -}}
- kind: ServiceAccount
  name: {{ include "hardening.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
