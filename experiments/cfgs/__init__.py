"""The recipes, installed as ``faster_rcnn.recipes`` (pyproject.toml)."""
