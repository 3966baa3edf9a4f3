"""What the cluster tests share: kubectl and helm as classes, pods to try things with, evidence of a failure."""
