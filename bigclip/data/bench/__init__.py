"""How fast the input pipeline is by itself: `python -m bigclip.data.bench --config C`."""
