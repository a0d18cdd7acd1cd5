# imsgate in a container: doc/containers.md. Build it in the source tree: docker build -t imsgate .
FROM python:3.13-slim AS build
# For users of all features: --build-arg EXTRAS=server,zstd,celery,keystone,…
ARG EXTRAS=server,zstd,keystone,postgresql,mysql
WORKDIR /src
COPY . .
RUN python -m venv /opt/imsgate \
    && /opt/imsgate/bin/python -m pip install --no-cache-dir ".[$EXTRAS]"

FROM python:3.13-slim
# A user ID in figures, so that Kubernetes can check that it is not root's.
RUN useradd --uid 10001 --user-group --no-create-home --no-log-init --home-dir /var/lib/imsgate \
        --shell /usr/sbin/nologin imsgate \
    && install -d -o imsgate -g imsgate -m 0700 /var/lib/imsgate
COPY --from=build /opt/imsgate /opt/imsgate
# Every command finds the state in /var/lib/imsgate, the only directory that is written to besides /tmp.
ENV PATH=/opt/imsgate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/var/lib
USER 10001:10001
WORKDIR /var/lib/imsgate
VOLUME /var/lib/imsgate
EXPOSE 9292
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from http import client; to = client.HTTPConnection('127.0.0.1', 9292, timeout=4); to.request('GET', '/healthcheck'); exit(to.getresponse().status != 200)"]
ENTRYPOINT ["imsgate"]
CMD ["serve", "--bind", "0.0.0.0:9292"]
