"""The contract of hardening-operator: custom resources, stage configs, stage results and their statistics."""
