"""Which model is the champion, and why. Versions appear, and become the champion, only with a signed verdict."""

from noria.registry.base import Registry, open_azureml_registry, open_registry

__all__ = ["Registry", "open_azureml_registry", "open_registry"]
