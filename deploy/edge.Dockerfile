# The camera process, without torch: x86-64 and arm64.
#   docker build -f deploy/edge.Dockerfile -t glimpse-edge .
#   docker buildx build --platform linux/amd64,linux/arm64 -f deploy/edge.Dockerfile .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/glimpse
COPY constraints.txt pyproject.toml LICENSE ./
COPY common common
COPY glimpse glimpse
COPY edge edge
# The package's other command belongs to a room that is not here.
RUN /opt/glimpse/bin/pip install --no-cache-dir -c constraints.txt '.[edge]' \
    && rm /opt/glimpse/bin/glimpse-cloud

FROM python:3.11-slim-bookworm
COPY --from=build /opt/glimpse /opt/glimpse
COPY weights/manifest.json weights/tables.npz weights/gains.npy weights/recognise.npz \
    weights/encoder.onnx weights/encoder.int8.onnx /opt/glimpse/weights/
COPY weights/human/manifest.json weights/human/auxiliary.npz /opt/glimpse/weights/human/
# All that it ever writes; a volume takes over the owner.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/glimpse
ENV PATH=/opt/glimpse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/glimpse \
    GLIMPSE_EDGE_WEIGHTS=/opt/glimpse/weights \
    GLIMPSE_EDGE_SPOOL=/var/lib/glimpse/spool \
    GLIMPSE_EDGE_CACHE=/var/lib/glimpse/cache
USER 10001:10001
WORKDIR /var/lib/glimpse
VOLUME /var/lib/glimpse
# Whether it does its work is known where its layers arrive: GlimpseCameraSilent.
HEALTHCHECK NONE
ENTRYPOINT ["glimpse-edge"]
CMD ["run"]
