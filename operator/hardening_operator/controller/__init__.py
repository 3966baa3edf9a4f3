"""The Kubernetes manager: carries out the planner's decisions with Jobs.

watch streams -> cached views -> work queue -> reconcile: observe -> plan -> store status -> Jobs, events
"""
