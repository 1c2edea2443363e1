"""The evaluation job: what is to do, what is done, and the models of the steps."""
