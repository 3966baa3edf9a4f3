"""Decides, drives and reports hardening runs: planner, Kubernetes handlers, local runner and CLI."""
