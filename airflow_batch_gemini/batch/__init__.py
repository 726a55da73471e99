"""The pure floor: decisions as functions over frozen values. No Airflow, Google, clock or I/O."""
