# The exchange for production: without the embedded database, as a user that may write nowhere.
# Settings come from the environment; docs/operations.md has them all.

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
# Every file is checked against the lock here; from here on nothing is fetched any more.
COPY requirements.lock ./
RUN python -m pip download --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: -r requirements.lock -d /wheels
COPY pyproject.toml README.md LICENSE ./
COPY exchange exchange
COPY partners partners
COPY graph graph
# The lock names the development tools and the embedded database too; of /wheels only what the exchange needs is taken.
# hadolint ignore=DL3013 # the versions are those of the lock: there is nowhere else to fetch from
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-index --find-links=/wheels hatchling \
    && python -m pip wheel --no-cache-dir --disable-pip-version-check --no-index --no-deps --no-build-isolation -w /dist . \
    && python -m venv --without-pip /opt/exchange \
    && python -m pip --python /opt/exchange/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-index --find-links=/wheels /dist/*.whl

FROM python:3.11.14-slim-bookworm
# `exchange-data`, where a laptop keeps its database and master key, stays root's: without EXCHANGE_SECRET_KEY the
# exchange then refuses to start, instead of making a key that is gone with the container.
RUN groupadd --system --gid 10001 exchange \
    && useradd --system --uid 10001 --gid exchange --no-create-home --shell /usr/sbin/nologin exchange \
    && mkdir -p /srv/exchange/exchange-data
COPY --from=build /opt/exchange /opt/exchange
ENV PATH=/opt/exchange/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv/exchange
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/readyz', timeout=8)"]
# EXCHANGE_MONGO_URL, EXCHANGE_ISSUER and EXCHANGE_SECRET_KEY have no default that would be right here.
ENTRYPOINT ["exchange"]
CMD ["up", "--host", "0.0.0.0", "--port", "8000"]
