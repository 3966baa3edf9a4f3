{{/* The operator's settings: one variable for each field of hardening_operator/settings.py. */}}
{{- define "hardening.env" -}}
{{- $v := .Values -}}
- name: HARDENING_OPERATOR_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: HARDENING_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: HARDENING_NAMESPACES, value: {{ join "," $v.watchNamespaces | quote }}}
- {name: HARDENING_LEADER_ELECTION, value: {{ $v.leaderElection.enabled | quote }}}
- {name: HARDENING_LEASE_NAME, value: {{ include "hardening.fullname" . | quote }}}
- {name: HARDENING_TRAINER_IMAGE, value: {{ include "hardening.image" (dict "image" $v.trainerImage "appVersion" .Chart.AppVersion) | quote }}}
- {name: HARDENING_IMAGE_PULL_POLICY, value: {{ $v.trainerImage.pullPolicy | quote }}}
- {name: HARDENING_IMAGE_PULL_SECRETS, value: {{ join "," $v.trainerImage.pullSecrets | quote }}}
- {name: HARDENING_METRICS_PORT, value: {{ $v.ports.metrics | int64 | quote }}}
- {name: HARDENING_HEALTH_PORT, value: {{ $v.ports.health | int64 | quote }}}
- {name: HARDENING_WORKERS, value: {{ $v.operator.workers | int64 | quote }}}
- {name: HARDENING_RESYNC_SECONDS, value: {{ $v.operator.resyncSeconds | int64 | quote }}}
- {name: HARDENING_SCHEDULING_DEADLINE_SECONDS, value: {{ $v.operator.schedulingDeadlineSeconds | int64 | quote }}}
- {name: HARDENING_IMAGE_DEADLINE_SECONDS, value: {{ $v.operator.imageDeadlineSeconds | int64 | quote }}}
- {name: HARDENING_PROGRESS_SECONDS, value: {{ $v.operator.progressSeconds | int64 | quote }}}
- {name: HARDENING_NETWORK_POLICIES, value: {{ $v.stages.networkPolicies | quote }}}
- {name: HARDENING_WORKSPACE_SIZE, value: {{ $v.workspace.size | quote }}}
- {name: HARDENING_WORKSPACE_STORAGE_CLASS, value: {{ $v.workspace.storageClass | quote }}}
- {name: HARDENING_WORKSPACE_ACCESS_MODE, value: {{ $v.workspace.accessMode | quote }}}
{{- end }}
