"""Which model is the champion, and why. Versions appear only through a verdict that says promote."""

from noria.registry.base import Registry, open_azureml_registry, open_registry

__all__ = ["Registry", "open_azureml_registry", "open_registry"]
