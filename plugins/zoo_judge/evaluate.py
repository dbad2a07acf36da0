"""Measures how often a judge is right on images that it has not seen."""

import zoo


def evaluate(bench: zoo.Bench) -> list[zoo.Metric]:
    """Accuracy on the test split: over classes, or for each attribute and all together."""
    names, truth = bench.model.config.names, bench.test.labels
    assert truth is not None, "the family's data are labelled"
    if bench.model.config.task == "classes":
        right = bench.model.infer(bench.images(bench.test))["label"].argmax(1) == truth
        return [bench.metric("accuracy", right.float(), "higher", "share of images whose likeliest class is theirs")]
    right = (bench.model.infer(bench.images(bench.test))["attributes"] > 0.5) == (truth > 0.5)
    protocol = "share of images judged right, cut at probability 1/2"
    single = [
        bench.metric(
            f"accuracy_{name}", right[:, i].float(), "higher", protocol, baseline=f"always the same: {majority:.3f}"
        )
        for i, (name, majority) in enumerate(zip(names, (truth.mean(0) - 0.5).abs() + 0.5, strict=True))
    ]
    return [bench.metric("accuracy", right.float().mean(1), "higher", protocol + ", mean of the attributes"), *single]
