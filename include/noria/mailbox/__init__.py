"""The local inbox: an SMTP sink on loopback that keeps mails as .eml files, and how they are read.

What the mails say belongs to `noria.alerts`.
"""
