"""From what data sets come as to what trains fast: ArrayRecord for TFDS, or webdataset tars.

`python -m bigclip.data.convert --help` says how. A conversion is cut into pieces of the input,
each of which becomes one output shard, whatever process makes it: `rows` and its readers open the
input, `columns` turns a row of a table into a record, `pictures` looks at the picture, `shards`
writes, `progress` remembers what is complete, `conversion` puts them together.
"""
