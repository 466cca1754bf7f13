"""Object detection for spnas: data, necks, detectors, metrics, training, and the ``detection`` task."""
