"""The Kubernetes shell: the planner's decisions carried out with Jobs.

watch streams -> indices of extracts -> work queue -> reconcile: observe -> plan -> store status -> children, events
"""
