"""The old place of what is in `addresses.py` and `token.py`."""

from engine.api.addresses import ApiConfig as ApiConfig
from engine.api.addresses import warnings as warnings
from engine.api.token import Token as Token
