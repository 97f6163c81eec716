import os
import signal
import threading

import pytest

from stage1_teacher.interruption import interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_seen_at_the_next_check_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with interruption() as asked:
        os.kill(os.getpid(), number)
        assert asked.asked
        with pytest.raises(KeyboardInterrupt):
            asked.check()
    assert signal.getsignal(number) is before


def test_a_second_one_interrupts_at_once():
    with interruption() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert asked.asked


def test_other_threads_leave_the_handlers_alone():
    found = []

    def run():
        with interruption() as asked:
            asked.check()
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
