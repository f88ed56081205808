# serve.py with an exported run, without TensorFlow:
#   docker build -t e6tag .
#   docker run --rm -p 127.0.0.1:5000:5000 -v "$PWD/runs/openmoji/export:/run:ro" -v e6tag-events:/events e6tag
FROM python:3.12-slim
WORKDIR /app
COPY requirements-serve.txt requirements-search.txt ./
RUN pip install --no-cache-dir -r requirements-serve.txt -r requirements-search.txt
COPY command.py serve.py test.py ./
COPY common common
COPY dataset dataset
COPY model model
COPY inference inference
COPY labels labels
COPY retrieval retrieval
COPY web web
RUN mkdir /events && chown 10001 /events
USER 10001
VOLUME /events
EXPOSE 5000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/healthz', timeout=5)"]
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "serve.py"]
CMD ["--run", "/run/model.onnx", "--events", "/events/events.sqlite", "--host", "0.0.0.0"]
