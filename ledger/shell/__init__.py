"""PostgreSQL: the door, the store, the migrations and the embedded server."""
