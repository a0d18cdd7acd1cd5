"""What a server process needs around the application: gunicorn, other servers, the first start."""
