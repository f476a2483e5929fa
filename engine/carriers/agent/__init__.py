"""A small voice agent: it checks who calls, answers media with media, and logs every session. For demo and tests."""
