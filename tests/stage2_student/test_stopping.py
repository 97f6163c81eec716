import os
import signal
import threading

import pytest

from stage2_student.stopping import stop_request


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_while_training_and_interrupts_otherwise(number, monkeypatch):
    with stop_request() as request:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert not request.asked
        request.training = True
        os.kill(os.getpid(), number)
        assert request.asked
        os.kill(os.getpid(), signal.SIGTERM)  # as torchrun hands it on
        monkeypatch.setattr("stage2_student.stopping._ECHO_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_the_handlers_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with stop_request():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_is_left_alone():
    found = []

    def work():
        with stop_request() as request:
            found.append(request.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
