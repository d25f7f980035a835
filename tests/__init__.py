"""The tests, a file for each subject.

test_promise_N_*  the seven promises that docs/architecture.md lists, in its order
test_http_*       what a station sees through a real nginx, by the kind of request
test_gateway_*    the gateway at its own socket: requests, connections, actions
test_program_*    the process: its start, its reload, its supervisor
test_cli_*        the command line, in real processes
test_archive*     both kinds of archive, and a CouchDB that fails
test_outage       the gateway while its archive can't be used
test_load         many stations at once
test_docs*, etc   the documentation and the files in etc/

The others are called after the part that they test. Fixtures are in conftest.py; servers,
stations and what else tests share are in support/, whose own tests are in test_support.
"""
