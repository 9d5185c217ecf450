"""The service of one community: queue, verdicts, ledger, log, HTTP API and pages.

The log is the truth; the tables are a fold of it. Modules (learning, data, crowd, services) are loaded by the
composition root; this room imports none of them, and never unpickles or executes what comes from outside.
"""
