# SPDX-License-Identifier: GPL-2.0
"""Run tests one after the other, and say so in TAP."""
import time


def run_tests(tests, *args, after=None):
    """(name, function of args) each; a test fails by an exception, whatever it is, and
    the next one runs. `after` each of them is called. The exit status."""
    print("TAP version 13\n1..%d" % len(tests), flush=True)
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        begin = time.monotonic()
        try:
            try:
                test(*args)
            finally:
                if after:
                    after()
            said, why = "ok", ""
        except Exception as error:
            failed += 1
            said, why = "not ok", "\n# " + (str(error) or repr(error)).replace("\n", "\n# ")
        print("%s %d - %s%s\n# %.1f s" % (said, number, name, why, time.monotonic() - begin),
              flush=True)
    return 1 if failed else 0
