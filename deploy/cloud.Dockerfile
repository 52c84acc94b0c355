# The server, for a CPU or a GPU: which torch it gets is said by TORCH_INDEX, a package index.
#   docker build -f deploy/cloud.Dockerfile -t glimpse-cloud \
#       --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .    (GPU: .../whl/cu128)
# Without it, torch comes from where pip takes the rest.
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=
WORKDIR /src
RUN python -m venv /opt/glimpse
COPY constraints.txt ./
# By itself: an index of torch alone has not the versions of the rest that the constraints name.
RUN /opt/glimpse/bin/pip install --no-cache-dir --no-deps -c constraints.txt \
    ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml LICENSE ./
COPY common common
COPY glimpse glimpse
COPY cloud cloud
# The package's other command belongs to a room that is not here.
RUN /opt/glimpse/bin/pip install --no-cache-dir -c constraints.txt '.[cloud]' \
    && rm /opt/glimpse/bin/glimpse-edge

FROM python:3.11-slim-bookworm
COPY --from=build /opt/glimpse /opt/glimpse
COPY weights /opt/glimpse/weights
COPY --chmod=0755 deploy/first-start /opt/glimpse/bin/first-start
# All that it ever writes, and what it hands to cameras; a volume takes over the owner.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/glimpse /var/lib/glimpse-camera
ENV PATH=/opt/glimpse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/glimpse \
    GLIMPSE_CLOUD_WEIGHTS=/opt/glimpse/weights \
    GLIMPSE_CLOUD_DATA=/var/lib/glimpse \
    GLIMPSE_CLOUD_LISTEN=0.0.0.0:50051 \
    GLIMPSE_CLOUD_METRICS_LISTEN=0.0.0.0:9464 \
    GLIMPSE_CLOUD_WEB_LISTEN=0.0.0.0:8080
USER 10001:10001
WORKDIR /var/lib/glimpse
VOLUME /var/lib/glimpse
EXPOSE 50051 8080 9464
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["glimpse-cloud", "health"]
ENTRYPOINT ["glimpse-cloud"]
CMD ["serve"]
