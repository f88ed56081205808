"""The version of e6tag, defined only here.

pyproject.toml reads it, and download.py sends it to a board in the User-Agent. The file imports nothing, so that it can be
read before anything is installed.
"""

VERSION = "1.0"
