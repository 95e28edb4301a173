# One file for every service:  docker build --build-arg SERVICE=webhooks -t holdfast-webhooks .
# An image holds `shared`, its one service, and that service's slice of requirements.lock. Roles (http, worker, relay, migrate) are
# commands of their service's image. Needs BuildKit; takes no frontend from a registry, so there is no syntax line.

FROM python:3.13-slim AS packages
ARG SERVICE
# Two environments: pip works from the first and fills the second, so that the image's own environment holds no installer.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/venv
WORKDIR /build
COPY k8s/image/build-tools.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/build/bin/pip install --quiet --no-deps --require-hashes --only-binary :all: -r build-tools.lock
COPY k8s/image/install_locked.py pyproject.toml requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/build/bin/python install_locked.py --extra "$SERVICE" --into /opt/venv --from-source pyvips

FROM python:3.13-slim AS code
ARG SERVICE
COPY shared /app/shared
COPY services/__init__.py /app/services/
COPY services/${SERVICE} /app/services/${SERVICE}
# Without SERVICE the line above would have copied every service. Bytecode is made here, for a root that cannot be written later;
# checked by content, so that a file synchronised into a running container is still seen.
RUN test -f "/app/services/${SERVICE:?give --build-arg SERVICE=api|webhooks|media}/__init__.py" \
 && python -m compileall -q --invalidation-mode checked-hash /app

FROM python:3.13-slim
# The user has a name because libraries ask for it; the state directory is its own so that a volume put there starts out writable.
RUN groupadd --gid 10001 holdfast \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /app --shell /usr/sbin/nologin holdfast \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/holdfast
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /app /app
# What differs from build to build comes last: above it, layers are kept, and the user's is one for all images.
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="holdfast-${SERVICE}" \
      org.opencontainers.image.description="Holdfast: the ${SERVICE} service, its HTTP app and its worker" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# UVICORN_APP lets one exec-form CMD start whichever app the image holds; no shell stands between the process and its signals.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/tmp \
    HOLDFAST_STATE_DIR=/var/lib/holdfast \
    UVICORN_APP=services.${SERVICE}.app:create_app
WORKDIR /app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["uvicorn", "--factory", "--host", "0.0.0.0", "--port", "8000", "--loop", "uvloop", "--http", "shared.runtime.heads:BoundedHttp", "--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "25"]
