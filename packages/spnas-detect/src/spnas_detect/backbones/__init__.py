"""Networks of timm and torchvision as backbones by name."""
