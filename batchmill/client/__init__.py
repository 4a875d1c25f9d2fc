"""The producers' client: requests go to the service over HTTP, answers come back.

What is to be done is said once, as steps (`steps.py`); `transport.py` takes them, waiting or awaiting.
"""
