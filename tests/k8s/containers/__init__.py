"""The rendered pods in a container engine of this machine: what a kubelet would make of them, without a cluster."""
