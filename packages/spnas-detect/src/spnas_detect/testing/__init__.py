"""For those who write readers of data: what every one of them must keep."""

from spnas_detect.testing.reader_contract import ReaderContract

__all__ = ["ReaderContract"]
