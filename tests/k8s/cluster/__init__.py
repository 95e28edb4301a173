"""Tests on a real cluster: they take KUBECONFIG, and skip with a reason without it."""
