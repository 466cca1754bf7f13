"""Screens: cheap scores that choose, among more children than can be trained, those that are."""

from spnas_search.screens._base import Screen, ScreenPlugin, screen_plugin
from spnas_search.screens.screened import ScreenedStrategy

__all__ = ["Screen", "ScreenPlugin", "ScreenedStrategy", "screen_plugin"]
