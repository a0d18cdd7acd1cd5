"""WSGI filters, one file each; each works alone in front of any WSGI application."""
