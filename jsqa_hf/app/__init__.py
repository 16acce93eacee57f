"""`jsqa demo`: a page in the browser that rates and compares clips, on this machine alone."""

from .limits import AppLimits
from .page import launch_app, make_app

__all__ = ["AppLimits", "launch_app", "make_app"]
