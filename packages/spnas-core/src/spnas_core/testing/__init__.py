"""Random architectures for property tests, of spnas and of plugins; needs hypothesis."""

from spnas_core.testing.architectures import architectures, parallel_architectures, serial_architectures

__all__ = ["architectures", "parallel_architectures", "serial_architectures"]
