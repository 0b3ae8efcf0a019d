"""The only ordinary training loop: one network, one set, SGD; used for experts, evaluation and baselines."""
