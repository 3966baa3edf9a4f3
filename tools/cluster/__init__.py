"""A real single-node Kubernetes for the tests, in a folder and on an address of its own.

up      tools -> network -> certificates -> containerd, etcd -> API server -> scheduler, controllers, DNS, kubelet
down    the same backwards; every process by its id, then mounts, network, control groups

`python -m tools.cluster` lists the commands.
"""
