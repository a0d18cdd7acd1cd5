"""Taking over the images of another service without copying their data.

``glance_database`` reads Glance's tables; ``adoption`` decides which images can be taken, and
records them.
"""
