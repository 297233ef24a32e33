"""Keep caches from answering: drop the host's page cache, evict files, limit a device's bandwidth.

Standard library only, so that the host's side runs on a bare host: copy this folder there and start
``python -m prevent_caching.host --dir D``. Nothing here imports the rest of the project.
"""
