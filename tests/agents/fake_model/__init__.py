"""A model on loopback that speaks as much as four agents need of the protocols of their models.

The last line that a person wrote decides its answer: `RUN: COMMAND` calls the shell that the agent
offers, `CALL: NAME JSON` the tool whose name ends with NAME, `SLOW` begins an answer that never
ends, anything else is repeated. `python -m tests.agents.fake_model LOG` runs it: it prints its
port, and appends each request to the file LOG as a line of JSON before it answers, so that a test
sees what a model would have been told.
"""
