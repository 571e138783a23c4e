"""Own implementations of the operators that take most of Faster R-CNN's time.

Each is a ``torch.library`` custom operator with compiled CPU code (``csrc/``), and with
torchvision's operators as the fallback. Operators take tensors only; layers call them.
"""
