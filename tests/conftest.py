"""Settings of all tests."""

import hypothesis

# A machine under load is no reason to fail: time belongs to the benchmarks.
hypothesis.settings.register_profile("babelscope", deadline=None, max_examples=50)
hypothesis.settings.load_profile("babelscope")
