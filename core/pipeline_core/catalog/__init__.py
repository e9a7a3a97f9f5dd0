"""The catalog of providers and pipelines: `configs/`, loaded, validated and kept current.

Nothing is imported here: a runner needs the checks, but neither YAML nor the watcher.
"""
