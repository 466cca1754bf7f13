"""Networks of timm and torchvision as backbones by name; ``tables`` has those of no library."""
