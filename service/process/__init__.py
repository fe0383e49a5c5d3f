"""The processes of the server and their life: a supervisor, its workers and the metrics process."""
