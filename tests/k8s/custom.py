"""Schemas of the custom resources that Holdfast's manifests use, as far as they use them; any other field is refused.

Written by hand from the published definitions of KEDA 2.12 to 2.18, the Prometheus operator and the Gateway API: the
package that validates the built-in kinds does not hold them. A field more in a manifest wants a line more here.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string", "minLength": 1}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def _of(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    fields = {**required, **(optional or {})}
    return {"type": "object", "properties": fields, "required": [*required], "additionalProperties": False}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


def _map(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


def _kind(version: str, kind: str, spec: Schema) -> Schema:
    metadata = _of({"name": _TEXT}, {"namespace": _TEXT, "labels": _map(_TEXT), "annotations": _map(_TEXT)})
    return _of({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata, "spec": spec})


_POLICY = _of({"type": {"enum": ["Pods", "Percent"]}, "value": _COUNT, "periodSeconds": _COUNT})
_DIRECTION = _of(
    {"policies": _list(_POLICY)},
    {"stabilizationWindowSeconds": _COUNT, "selectPolicy": {"enum": ["Max", "Min", "Disabled"]}},
)
_BACKLOG = _of({"url": _TEXT, "valueLocation": _TEXT, "targetValue": _TEXT, "authMode": {"const": "bearer"}})
_TRIGGER: Schema = {
    "oneOf": [
        _of(
            {"type": {"const": "metrics-api"}, "metricType": {"const": "AverageValue"}, "metadata": _BACKLOG,
             "authenticationRef": _of({"name": _TEXT})},
        ),
        _of(
            {"type": {"const": "cpu"}, "metricType": {"enum": ["AverageValue", "Utilization"]},
             "metadata": _of({"containerName": _TEXT, "value": _TEXT})},
        ),
    ]
}  # fmt: skip
_BEHAVIOR = _of({"behavior": _of({"scaleUp": _DIRECTION, "scaleDown": _DIRECTION})})
_SCALED_OBJECT = _of(
    {
        "scaleTargetRef": _of({"name": _TEXT}),
        "minReplicaCount": _COUNT,
        "maxReplicaCount": _COUNT,
        "pollingInterval": _COUNT,
        "cooldownPeriod": _COUNT,
        "triggers": _list(_TRIGGER),
        "advanced": _of({"horizontalPodAutoscalerConfig": _BEHAVIOR}),
    }
)
_SECRET = _of({"parameter": _TEXT, "name": _TEXT, "key": _TEXT})
_SELECTOR = _of(
    {},
    {
        "matchLabels": _map(_TEXT),
        "matchExpressions": _list(_of({"key": _TEXT, "operator": {"enum": ["In", "NotIn"]}, "values": _list(_TEXT)})),
    },
)
_SCRAPE = _list(_of({"port": _TEXT, "path": _TEXT, "interval": _TEXT}))
_RULE = _of(
    {"alert": _TEXT, "expr": _TEXT, "labels": _of({"severity": {"enum": ["info", "warning", "critical"]}}),
     "annotations": _of({"summary": _TEXT, "description": _TEXT})},
    {"for": _TEXT},
)  # fmt: skip
_MATCH = _of({"path": _of({"type": {"const": "PathPrefix"}, "value": _TEXT})})
_ROUTE = _of(
    {"matches": _list(_MATCH), "backendRefs": _list(_of({"name": _TEXT, "port": _COUNT}))},
    {"timeouts": _of({"request": _TEXT})},
)
_PARENT = _of({"name": _TEXT, "namespace": _TEXT})

SCHEMAS: dict[tuple[str, str], Schema] = {
    (version, kind): _kind(version, kind, spec)
    for version, kind, spec in (
        ("keda.sh/v1alpha1", "ScaledObject", _SCALED_OBJECT),
        ("keda.sh/v1alpha1", "TriggerAuthentication", _of({"secretTargetRef": _list(_SECRET)})),
        ("monitoring.coreos.com/v1", "ServiceMonitor", _of({"selector": _SELECTOR, "endpoints": _SCRAPE})),
        ("monitoring.coreos.com/v1", "PodMonitor", _of({"selector": _SELECTOR, "podMetricsEndpoints": _SCRAPE})),
        (
            "monitoring.coreos.com/v1",
            "PrometheusRule",
            _of({"groups": _list(_of({"name": _TEXT, "rules": _list(_RULE)}))}),
        ),
        (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            _of({"parentRefs": _list(_PARENT), "hostnames": _list(_TEXT), "rules": _list(_ROUTE)}),
        ),
    )
}
