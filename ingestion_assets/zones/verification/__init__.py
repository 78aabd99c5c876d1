"""Whether a payload comes from whom it says: the signatures of senders. Free of Dagster, of FastAPI and of I/O.

`config` is what a zone says of its sender, `senders` what each kind of sender signs and where it puts it, `verifying` the check.
"""
