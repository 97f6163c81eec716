import os
import signal
import threading

import pytest

from stage1_teacher.interruption import interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deferred_signal_is_seen_at_the_next_check_and_handlers_come_back(number):
    before = signal.getsignal(number)
    seen = []
    with pytest.raises(KeyboardInterrupt), interruption() as asked, asked.deferred():
        asked.check()
        os.kill(os.getpid(), number)
        seen.append(asked.asked)
        asked.check()
        seen.append("never")
    assert seen == [True]
    assert signal.getsignal(number) is before


def test_the_end_of_a_deferred_block_is_a_check():
    seen = []
    with pytest.raises(KeyboardInterrupt), interruption() as asked:
        with asked.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("whole")
        seen.append("never")
    assert seen == ["whole"]


def test_outside_a_deferred_block_it_interrupts_at_once():
    with interruption(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_one_interrupts_at_once():
    with interruption() as asked, pytest.raises(KeyboardInterrupt), asked.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


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
