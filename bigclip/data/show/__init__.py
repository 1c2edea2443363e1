"""A contact sheet of what a model will see: `python -m bigclip.data.show --config C`."""
