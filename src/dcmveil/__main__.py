"""`python -m dcmveil`"""

from .cli import run

run()
