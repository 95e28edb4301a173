#!/bin/sh
# Makes the secrets of a laptop cluster, once, from random bytes; leaves them alone when they are there.
#   k8s/components/dev-datastores/create-secrets.sh [namespace]
# The mail server is whatever answers at HOLDFAST_DEV_SMTP_URL; without one, welcome emails are retried and end in the dead letters.
set -eu
ns=${1:-holdfast-dev}
kubectl get namespace "$ns" >/dev/null 2>&1 || kubectl create namespace "$ns"
if kubectl -n "$ns" get secret holdfast-secrets >/dev/null 2>&1; then
  echo "secrets are there already in $ns"
  exit 0
fi
password=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
master_key=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')
link_key=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')
kubectl -n "$ns" create secret generic holdfast-dev-postgres --from-literal=password="$password" --dry-run=client -o yaml | kubectl apply -f -
kubectl -n "$ns" create secret generic holdfast-secrets \
  --from-literal=database-url="postgresql://holdfast:$password@postgres:5432/holdfast" \
  --from-literal=redis-url="redis://valkey:6379/0" \
  --from-literal=master-key="$master_key" \
  --from-literal=media-link-key="$link_key" \
  --from-literal=smtp-url="${HOLDFAST_DEV_SMTP_URL:-smtp://mail:1025}"
