"""A map of embeddings in two dimensions, for the report: t-SNE."""

import numpy as np

_PERPLEXITY = 30.0


def map_2d(emb: np.ndarray, seed: int) -> np.ndarray:
    """Lay embeddings out in the plane so that neighbours stay neighbours.

    t-SNE (van der Maaten & Hinton 2008) as scikit-learn has it, started from the first two
    principal components, which keeps the large structure in place, too. Distances between far
    groups, and the sizes of groups, mean nothing.

    Args:
        emb: [N, D] float; at most some hundred rows.
        seed: makes the result the same at every call.

    Returns:
        [N, 2], centred, the largest coordinate 1 (all 0 if the embeddings are all the same).
    """
    emb = np.asarray(emb, np.float64)
    centred = emb - emb.mean(axis=0)
    u, singular, _ = np.linalg.svd(centred, full_matrices=False)
    # A sign is arbitrary in a singular vector: fix it, for the same map on every machine.
    u = u * np.where(u[np.abs(u).argmax(axis=0), np.arange(u.shape[1])] < 0, -1.0, 1.0)
    place = np.zeros((len(emb), 2))
    place[:, : min(2, len(singular))] = (u * singular)[:, :2]
    spread = place[:, 0].std()
    if len(emb) > 4 and spread > 1e-6 * np.abs(emb).max():
        # Imported here: it takes a second, and only this needs it.
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        tsne = TSNE(
            perplexity=min(_PERPLEXITY, (len(emb) - 1) / 3),
            init=(1e-4 / spread * place).astype(np.float32),
            random_state=seed,
        )
        # One thread adds in one order, which makes the map the same again; and for so few points
        # threads mostly wait for each other, beside a training that needs them.
        with threadpool_limits(1):
            place = tsne.fit_transform(emb.astype(np.float32))
        place = np.asarray(place, np.float64)
    place = place - place.mean(axis=0)
    largest = np.abs(place).max()
    return place / largest if largest > 1e-6 * np.abs(emb).max() else np.zeros_like(place)
