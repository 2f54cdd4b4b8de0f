# The example project, served, with what nodes of a fleet and workers of a Ray cluster need.
# Your own: `COPY` its folders over those below /srv/project.

FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/tidemill && /opt/tidemill/bin/pip install --no-cache-dir '.[postgres,ray]'

FROM python:3.11.13-slim-bookworm
RUN groupadd --system --gid 10001 tidemill \
    && useradd --system --uid 10001 --gid tidemill --home-dir /srv/project --no-create-home tidemill \
    && install -d /srv/project /srv/project/inbox \
    && install -d -o tidemill -g tidemill -m 0700 /srv/project/.tidemill
COPY --from=build /opt/tidemill /opt/tidemill
COPY workflows /srv/project/workflows
COPY triggers /srv/project/triggers
COPY schemas /srv/project/schemas
ENV PATH=/opt/tidemill/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /srv/project
VOLUME /srv/project/.tidemill
EXPOSE 7070
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidemill"]
CMD ["serve", "--project", "/srv/project"]
