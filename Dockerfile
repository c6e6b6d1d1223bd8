ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY requirements/run.txt ./
RUN python -m venv --without-pip /opt/segstream \
 && python -m pip --python /opt/segstream/bin/python install \
      --no-cache-dir --no-compile --require-hashes --only-binary :all: -r run.txt
COPY stream/ ./stream/
# nobody can write bytecode later: the file system is read-only and the user owns nothing
RUN /opt/segstream/bin/python -c 'import shutil, sysconfig; shutil.copytree("stream", sysconfig.get_path("purelib") + "/stream")' \
 && /opt/segstream/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/segstream/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="segstream" \
      org.opencontainers.image.description="Keeps retail.red segments equal to your membership tables" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/segstream /opt/segstream
ENV PATH=/opt/segstream/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SEGSTREAM_CONFIG=/etc/segstream/segstream.yaml
WORKDIR /
USER 65532:65532
EXPOSE 9464
ENTRYPOINT ["python", "-m", "stream"]
CMD ["run"]
