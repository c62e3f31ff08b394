import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from gateway.thread_pool import ThreadPool
from tests.fidelity.servers import eventually

TIMEOUT_S = 5.0


class Job:
    """Begins when a thread takes it, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.end.wait(TIMEOUT_S)


@pytest.fixture
def make_pool() -> Iterator[Callable[[int, int], ThreadPool]]:
    pools = []

    def make(size: int, queue: int) -> ThreadPool:
        pools.append(ThreadPool(size, queue, name="test-pool"))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()
    eventually(pool_threads, lambda threads: not threads)


def pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("test-pool-")]


def submit(pool: ThreadPool, number: int) -> list[Job]:
    jobs = [Job() for _ in range(number)]
    for job in jobs:
        pool.submit(job)
    return jobs


def finish(pool: ThreadPool, *jobs: Job) -> None:
    before = pool.busy + pool.waiting
    for job in jobs:
        job.end.set()
    eventually(lambda: pool.busy + pool.waiting, lambda number: number <= before - len(jobs))


def test_threads_are_started_as_they_are_needed(make_pool: Callable[[int, int], ThreadPool]) -> None:
    pool = make_pool(3, 0)
    assert pool_threads() == []

    for _ in range(5):
        finish(pool, *submit(pool, 1))
    assert len(pool_threads()) == 1

    jobs = submit(pool, 2)
    assert len(pool_threads()) == 2
    finish(pool, *jobs)


def test_threads_do_not_keep_the_process_alive(make_pool: Callable[[int, int], ThreadPool]) -> None:
    pool = make_pool(1, 0)

    (job,) = submit(pool, 1)

    assert [thread.daemon for thread in pool_threads()] == [True]
    finish(pool, job)


def test_jobs_beyond_the_threads_wait_for_one(make_pool: Callable[[int, int], ThreadPool]) -> None:
    pool = make_pool(2, 10)
    first, second, third = submit(pool, 3)
    assert first.begun.wait(TIMEOUT_S)
    assert second.begun.wait(TIMEOUT_S)
    assert (pool.busy, pool.waiting) == (2, 1)
    assert not third.begun.is_set()

    finish(pool, first)

    assert third.begun.wait(TIMEOUT_S)
    assert third.thread is first.thread
    assert (pool.busy, pool.waiting) == (2, 0)
    finish(pool, second, third)
    assert (pool.busy, pool.waiting) == (0, 0)


def test_pool_is_saturated_while_threads_and_queue_are_full(make_pool: Callable[[int, int], ThreadPool]) -> None:
    pool = make_pool(2, 1)
    jobs = submit(pool, 2)
    assert not pool.saturated

    jobs += submit(pool, 1)
    assert pool.saturated

    finish(pool, jobs[0])
    assert not pool.saturated
    finish(pool, *jobs[1:])


def test_job_that_raises_leaves_its_thread_to_the_next(
    make_pool: Callable[[int, int], ThreadPool], caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(1, 1)

    def fail() -> None:
        raise SystemExit

    pool.submit(fail)
    (job,) = submit(pool, 1)

    assert job.begun.wait(TIMEOUT_S)
    assert pool.busy == 1
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [SystemExit]
    finish(pool, job)


def test_pool_without_another_thread_makes_do_with_those_it_has(
    make_pool: Callable[[int, int], ThreadPool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(2, 1)
    (first,) = submit(pool, 1)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    (second,) = submit(pool, 1)
    finish(pool, first)

    assert second.begun.wait(TIMEOUT_S)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    finish(pool, second)


def refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_pool_without_any_thread_refuses_the_job(
    make_pool: Callable[[int, int], ThreadPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1, 0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            submit(pool, 1)
    assert (pool.busy, pool.waiting, pool.saturated) == (0, 0, False)

    (job,) = submit(pool, 1)

    assert job.begun.wait(TIMEOUT_S)
    finish(pool, job)


def test_closed_pool_finishes_what_it_was_given(make_pool: Callable[[int, int], ThreadPool]) -> None:
    pool = make_pool(1, 1)
    first, second = submit(pool, 2)
    pool.close()

    first.end.set()

    assert second.begun.wait(TIMEOUT_S)
    second.end.set()
    eventually(pool_threads, lambda threads: not threads)


def test_finished_job_is_forgotten(make_pool: Callable[[int, int], ThreadPool]) -> None:
    pool = make_pool(1, 0)
    (job,) = submit(pool, 1)
    finish(pool, job)
    reference = weakref.ref(job)

    gc.disable()
    try:
        del job
        eventually(reference, lambda found: found is None)
    finally:
        gc.enable()
