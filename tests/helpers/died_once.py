"""A job whose first process dies; of its own, so that worker processes load no more than they need."""

import os
import signal

from segtrust.label.scoring.jobs import run_score_job

__all__ = ["die_once"]


def die_once(job):
    """Score a scan; the first process that gets `one` is killed, and leaves a file that says so."""
    marker = job.path.with_name("died")
    if job.key.scan_id == "one" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_score_job(job)
