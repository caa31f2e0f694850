"""The embedded service: the media API over a folder of pictures, a store for their tags, and a web page of them.

It speaks the contract of docs/media-api.md and stands in for the Java service. `embedded.py` puts it together.
"""
