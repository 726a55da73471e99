# Airflow with this package and its example DAGs; the local cloud runs from the same image.
ARG BASE_IMAGE=apache/airflow:3.3.2-python3.12
FROM ${BASE_IMAGE}

# A named volume takes its owner from the folder it is mounted over.
USER root
RUN mkdir --parents /data && chown airflow:0 /data
USER airflow

WORKDIR /opt/airflow
COPY --chown=airflow:0 requirements.lock /opt/airflow-batch-gemini/
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement /opt/airflow-batch-gemini/requirements.lock

COPY --chown=airflow:0 LICENSE README.md pyproject.toml /opt/airflow-batch-gemini/
COPY --chown=airflow:0 airflow_batch_gemini /opt/airflow-batch-gemini/airflow_batch_gemini
# The lock has everything that it needs, the build backend too.
RUN pip install --no-cache-dir --no-deps --no-build-isolation /opt/airflow-batch-gemini
COPY --chown=airflow:0 dags /opt/airflow/dags
