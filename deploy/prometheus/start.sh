#!/bin/sh
# Starts Prometheus with the key of the API in a file, because its configuration reads no variables.
set -eu

: "${SOJOURN_METRICS_KEY:?a key with the role viewer and the scope process:read}"
umask 077
printf %s "$SOJOURN_METRICS_KEY" > /tmp/api-key
unset SOJOURN_METRICS_KEY

exec /bin/prometheus \
    --config.file=/deploy/prometheus.yml \
    --storage.tsdb.path=/prometheus \
    --storage.tsdb.retention.time="${PROMETHEUS_RETENTION:-15d}" \
    --web.listen-address=0.0.0.0:9090 \
    --web.enable-otlp-receiver
