"""The demo's web page: pictures by a text, labels by a picture. Started by `bigclip.demo`."""
