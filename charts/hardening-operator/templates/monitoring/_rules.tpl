{{/* A rule's expression: with the threshold of the values, else its own. Takes a dict of rule and own (its values). */}}
{{- define "hardening.alertExpression" -}}
{{- $threshold := ternary .own.threshold .rule.threshold (hasKey .own "threshold") | default 0 | float64 -}}
{{- /* Never in powers of ten: a duration takes none. */ -}}
{{- .rule.expr | replace "$THRESHOLD" (regexReplaceAllLiteral "\\.?0+$" (printf "%.6f" $threshold) "") -}}
{{- end }}

{{/* Not empty where the values leave a rule on. Takes the rule's values. */}}
{{- define "hardening.alertEnabled" -}}
{{- if not (and (hasKey . "enabled") (not .enabled)) }}yes{{ end -}}
{{- end }}
