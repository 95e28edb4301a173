"""The manifests, the images' recipe and skaffold.yaml, read as data: neither cluster nor container engine needed."""
