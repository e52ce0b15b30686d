"""Where data comes from: github, https, file, sample.

A source streams bytes and says where they are from; it does not know what they mean.
"""
