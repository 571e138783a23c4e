"""Losses that go wrong."""

import contextlib

from faster_rcnn.model import region_proposals


@contextlib.contextmanager
def spoilt(calls, change=lambda loss: loss * float("nan")):
    """Have the RPN's box loss go wrong in these of the calls in the block."""
    plain, number = region_proposals.rpn_loss_sums, 0

    def losses(*arguments, **options):
        nonlocal number
        number += 1
        cls_loss, box_loss = plain(*arguments, **options)
        if number in calls:
            box_loss = box_loss._replace(total=change(box_loss.total))
        return cls_loss, box_loss

    region_proposals.rpn_loss_sums = losses
    try:
        yield
    finally:
        region_proposals.rpn_loss_sums = plain


def spoil_gradient(loss):
    """Leave a loss as it is, and make its gradient no number."""
    loss.register_hook(lambda gradient: gradient * float("nan"))
    return loss * 1
