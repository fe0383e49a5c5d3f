"""The processes of the server: a supervisor, its workers and the metrics process."""
