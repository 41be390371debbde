# The web server alone: the store is another container's job (BELFRY_REDIS_URL). Runs read-only and without root.
FROM python:3.13-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    BELFRY_BIND=0.0.0.0:8000

WORKDIR /srv/belfry
COPY requirements.txt ./
RUN pip install --require-hashes --only-binary :all: -r requirements.txt \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin belfry
COPY gunicorn.conf.py ./
COPY templates/ templates/
COPY app/ app/

# By number, so that an orchestrator can tell that it is not root.
USER 10001
EXPOSE 8000
# gunicorn takes SIGTERM for a graceful stop; each stream leaves with a goodbye.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import sys; from app.launch.address import Address; sys.exit(not Address.parse('127.0.0.1:8000').answers())"]
CMD ["gunicorn", "-c", "gunicorn.conf.py"]
