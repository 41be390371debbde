# The web server alone: the store is another container's job (BELFRY_REDIS_URL). Runs read-only and without root.
FROM python:3.13-slim AS build

WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt -r requirements-build.txt
COPY pyproject.toml README.md README.zh-CN.md CHANGELOG.md CONTRIBUTING.md LICENSE ./
COPY .github/ .github/
COPY clients/ clients/
COPY deploy/ deploy/
COPY docs/ docs/
COPY templates/ templates/
COPY app/ app/
RUN python -m docs.site && python -m hatchling build -t wheel -d /dist

FROM python:3.13-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BELFRY_BIND=0.0.0.0:8000

COPY requirements.txt /tmp/
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements.txt \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin belfry
RUN --mount=type=bind,from=build,source=/dist,target=/dist \
    pip install --no-cache-dir --no-deps --no-index /dist/*.whl && belfry --version

# By number, so that an orchestrator can tell that it is not root.
USER 10001
WORKDIR /tmp
EXPOSE 8000
# gunicorn takes SIGTERM for a graceful stop; each stream leaves with a goodbye.
STOPSIGNAL SIGTERM
# Asks the address that BELFRY_BIND names. It loads the standard library only, since it runs every ten seconds.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-P", "-m", "belfry_push.launch.address"]
# `docker exec … belfry token alice` and the other commands work as well.
CMD ["python", "-P", "-m", "belfry_push.server", "-c", "python:belfry_push.server.configuration"]
