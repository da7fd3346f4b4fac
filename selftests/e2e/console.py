# SPDX-License-Identifier: GPL-2.0
"""Drive a program whose standard input and output are a serial console.

The program runs on a pseudo terminal in raw mode, as it would under a person's
fingers. A thread reads all it says at once, so that it never blocks on us, and
copies it to a transcript.

    con = Console(["vmmd", "run", "disk.img"], "transcript.txt")
    con.login("root", "vmm", timeout=600)
    status, output = con.run("uname -r", timeout=60)
"""
import os
import pty
import re
import subprocess
import threading
import time
import tty

# The emulated host is slow, and a loaded machine slower still: one knob.
SCALE = float(os.environ.get("VMM_TIMEOUT_SCALE", "1"))


class ConsoleError(Exception):
    """What we waited for did not come: too late, or the program ended."""


class Console:
    def __init__(self, argv, transcript):
        """Start argv; append what it prints, also on stderr, to transcript."""
        self._transcript = open(transcript, "ab", buffering=0)
        self._text = ""         # everything said since the last match
        self._closed = False
        self._changed = threading.Condition()
        self._marks = 0
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        try:
            self.process = subprocess.Popen(
                argv, stdin=slave, stdout=slave, stderr=self._transcript,
                start_new_session=True)
        finally:
            os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read(self):
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:     # EIO: nobody has the other side any more
                data = b""
            if data:
                self._transcript.write(data)
            with self._changed:
                # UTF-8 cut in two is of no interest to any pattern here.
                self._text += data.decode("utf-8", "replace")
                self._closed = not data
                self._changed.notify_all()
            if not data:
                return

    def wait_for(self, pattern, timeout, fatal=None):
        """Wait for a match of pattern (seconds, scaled) and forget all up to
        its end. Returns (text before, match). A match of fatal, also before
        that one, means that there is no use in waiting."""
        regex = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout * SCALE
        with self._changed:
            while True:
                match = regex.search(self._text)
                before = self._text[:match.start()] if match else self._text
                bad = fatal and re.search(fatal, before, re.MULTILINE)
                if match and not bad:
                    self._text = self._text[match.end():]
                    return before, match
                if bad:
                    raise ConsoleError(f"{bad.group()!r} while waiting for {pattern!r}")
                left = deadline - time.monotonic()
                if self._closed:
                    raise ConsoleError(f"the program ended (status {self.wait(5)})"
                                       f" while waiting for {pattern!r}")
                if left <= 0:
                    raise ConsoleError(
                        f"no {pattern!r} within {timeout * SCALE:.0f} s")
                self._changed.wait(left)

    def peek(self):
        """What has been said since the last match."""
        with self._changed:
            return self._text

    def send(self, text):
        data = text.encode()
        while data:
            data = data[os.write(self._master, data):]

    def line(self, text):
        self.send(text + "\r")

    def login(self, user, password, timeout):
        """Log in at the prompt that is or will be there, and leave a shell
        that neither prompts nor echoes: what comes is what commands print."""
        self.wait_for(r"login: ", timeout)
        self.line(user)
        self.wait_for(r"[Pp]assword: ", timeout)
        self.line(password)
        _, match = self.wait_for(r"~[#$] |Login incorrect", timeout)
        if match.group() == "Login incorrect":
            raise ConsoleError(f"the guest refused the password of {user}")
        # Kernel messages would end up in the middle of some output. One line,
        # since what is typed ahead may get lost when the shell changes.
        self.line("exec env PS1= PS2= sh -c "
                  "'stty -echo; dmesg -n 1; echo READY; exec sh'")
        self.wait_for(r"READY\r*\n", timeout)

    def run(self, command, timeout):
        """Run command in the shell that login() left: (exit status, output).
        It gets no input, and output need not end in a newline."""
        self._marks += 1
        mark = f"=={os.getpid()}-{self._marks}=="
        self.line(f"{{ {command}\n}} </dev/null; echo {mark}$?=")
        before, match = self.wait_for(mark + r"(\d+)=\r*\n", timeout)
        return int(match.group(1)), re.sub(r"\r+\n", "\n", before)

    def wait(self, timeout):
        """Exit status of the program (as subprocess gives it: -N for signal N)."""
        try:
            status = self.process.wait(timeout * SCALE)
        except subprocess.TimeoutExpired:
            raise ConsoleError(
                f"still running {timeout * SCALE:.0f} s later") from None
        self._reader.join(5)
        return status

    def close(self):
        """Kill the program if it still runs. Once is enough, and twice does no harm."""
        if self._transcript.closed:
            return
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        os.close(self._master)
        self._transcript.close()
