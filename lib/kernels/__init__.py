"""Operators of our own for what Faster R-CNN spends its time on.

Each is a ``torch.library`` custom operator with compiled CPU code (``csrc/``) and
torchvision's operators as the fall-back. They know tensors only; the layers call them.
"""
