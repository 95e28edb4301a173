"""The scaling simulation: published autoscaling algorithms, the manifests' values, measured rates, arrival curves."""
