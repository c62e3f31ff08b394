"""The threads that run the legacy app, and nothing else."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

logger = logging.getLogger("gateway.thread_pool")


class ThreadPool:
    """At most `size` threads, started as they are needed, and at most `queue` jobs waiting for one.

    The threads are daemons: a view that hangs must not keep the process from ending when its time for a graceful
    shutdown is over, as gunicorn ends it too. (`ThreadPoolExecutor` joins its threads at exit, however long it takes.)
    """

    def __init__(self, size: int, queue: int, *, name: str = "legacy") -> None:
        self.size = size
        self._limit = size + queue
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Written by one side each, so that no lock is needed to read them: submitted by the event loop, the
        # others by the pool's threads under `_lock`.
        self._submitted = 0
        self._started = 0
        self._finished = 0
        self._lock = threading.Lock()

    @property
    def busy(self) -> int:
        """Threads that run a job now."""
        return self._started - self._finished

    @property
    def waiting(self) -> int:
        """Jobs that no thread has begun."""
        return max(self._submitted - self._started, 0)

    @property
    def saturated(self) -> bool:
        return self._submitted - self._finished >= self._limit

    def submit(self, job: Callable[[], None]) -> None:
        """Have `job` run; it should not raise. Called on the event loop alone, and only if not `saturated`.

        Raises RuntimeError if there is no thread yet and the system gives none.
        """
        if self._submitted - self._finished >= len(self._threads) < self.size:
            self._start_thread()
        self._submitted += 1
        self._jobs.put(job)

    def close(self) -> None:
        """Let the threads end after their present job."""
        for _ in self._threads:
            self._jobs.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            logger.warning("the system gives no more threads: %d must do", len(self._threads))
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._started += 1
            try:
                job()
            except BaseException:
                # Such as an exception that a time limit throws into the thread a moment too late.
                logger.exception("a job raised an exception that was its own to handle")
            finally:
                with self._lock:
                    self._finished += 1
                # Not until the next job comes: it would keep the last request's objects alive
                del job
