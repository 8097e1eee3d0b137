"""A run of training that is stopped after an epoch, as if somebody had ended it."""

__all__ = ["InterruptedRunError", "stop_after"]


class InterruptedRunError(Exception):
    pass


def stop_after(epoch):
    def report(r):
        if r.epoch == epoch:
            raise InterruptedRunError

    return report
