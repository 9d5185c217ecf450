# /// script
# requires-python = ">=3.11"
# dependencies = ["talkoot", "scikit-learn==1.9.1"]
#
# [tool.uv.sources]
# talkoot = { path = "..", editable = true }
# ///
"""Which model reads handwritten digits best? Every candidate is one task, on any device that lends a hand.

    talkoot demo                               try it on devices that this machine plays, a liar among them
    python examples/digits_search.py           on the hub you joined last (`talkoot join TICKET`)
    uv run examples/digits_search.py           the same, without having installed anything

scikit-learn is installed by the devices that do the work, from the list at the top. Here it is not needed.
"""

import json
import sys
from itertools import product

import talkoot


def candidates(model, **settings):
    """One candidate for each combination of the settings."""
    return [{"model": model, "settings": dict(zip(settings, values, strict=True))} for values in product(*settings.values())]


CANDIDATES = [
    *candidates("sklearn.svm.SVC", C=[1, 10, 100], gamma=[0.01, 0.03, 0.1, 0.2]),
    *candidates("sklearn.ensemble.RandomForestClassifier", n_estimators=[10, 20], max_depth=[8, 12, 16], random_state=[0]),
    *candidates("sklearn.ensemble.ExtraTreesClassifier", n_estimators=[10, 20, 30], max_depth=[8, 12, 16], random_state=[0]),
    *candidates("sklearn.linear_model.LogisticRegression", C=[0.1, 0.3, 1, 3, 10], max_iter=[1000]),
    *candidates("sklearn.neighbors.KNeighborsClassifier", n_neighbors=[1, 3, 5, 9], weights=["uniform", "distance"]),
]


def evaluate(candidate):
    """The accuracy of a candidate in each of ten folds of the 1,797 digits of the UCI test set."""
    from pkgutil import resolve_name

    from sklearn.datasets import load_digits
    from sklearn.model_selection import cross_val_score

    images, digits = load_digits(return_X_y=True)
    model = resolve_name(candidate["model"])(**candidate["settings"])
    scores = cross_val_score(model, images / 16, digits, cv=10)
    return {"accuracy": float(scores.mean()), "folds": scores.tolist()}


def main():
    with talkoot.connect() as hub:
        answers = list(hub.map(evaluate, CANDIDATES))

    scores = [answer.value for answer in answers]
    best = max(range(len(scores)), key=lambda i: scores[i]["accuracy"])
    confidence = min(answer.confidence for answer in answers)
    if "--json" in sys.argv:
        print(json.dumps({"best": CANDIDATES[best], "scores": scores, "confidence": confidence}))
        return
    settings = ", ".join(f"{name}={value}" for name, value in CANDIDATES[best]["settings"].items())
    print(f"best of {len(scores)}: {CANDIDATES[best]['model'].rpartition('.')[2]}({settings})")
    print(f"accuracy {scores[best]['accuracy']:.2%}, each answer right with a confidence of at least {confidence:.4%}")


if __name__ == "__main__":
    main()
