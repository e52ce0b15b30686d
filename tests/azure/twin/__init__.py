"""The offline twin: Azure's services on loopback, as real as they can be had without a subscription.

One child process (`python -m tests.azure.twin`) serves them on one TLS port and tells them apart by host name. A
service is one module with `app(state)`; what all of them share (tokens, faults, records) is in the modules beside them.
What tests hold in their hands is `client.Twin`.
"""
