"""What a page of `bigclip.data.show` holds: its texts and its pictures."""

import html.parser


class Images(html.parser.HTMLParser):
    """Collects pictures, texts, and whatever a browser would load."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.tags, self.links, self.texts = [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        if tag == "img":
            self.sources.append(attributes["src"])
        self.links += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]

    def handle_data(self, data):
        self.texts.append(data)
