"""Train a small classifier and keep everything about it in MLflow, as a data scientist would.

Run it with the tracking server's address in ``MLFLOW_TRACKING_URI`` or as the only argument; it needs no other setting. It
logs parameters, metrics, a plot and the model, registers the model, loads it back from the registry and predicts with it.
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")

import mlflow
import mlflow.sklearn
import numpy as np
import sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

EXPERIMENT = "iris"
MODEL = "iris-classifier"
#: What the model needs to be loaded. Without it, MLflow loads the model in another process to find out, which takes as long as all the rest.
REQUIREMENTS = [f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}", f"scikit-learn=={sklearn.__version__}"]
PARAMETERS = {"C": 0.5, "max_iter": 500}


def main() -> int:
    """Train, log, register, load back and predict.

    :returns: 0 when the model from the registry predicts what the trained one did, else 1.
    """
    if len(sys.argv) > 1:
        mlflow.set_tracking_uri(sys.argv[1])
    experiment = mlflow.set_experiment(EXPERIMENT)
    features, labels = load_iris(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(features, labels, test_size=0.3, random_state=42)

    with mlflow.start_run(run_name="logistic-regression") as run:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(**PARAMETERS)).fit(train_x, train_y)
        predicted = classifier.predict(test_x)
        mlflow.log_params(PARAMETERS)
        mlflow.log_metrics({"accuracy": accuracy_score(test_y, predicted), "f1": f1_score(test_y, predicted, average="macro")})
        display = ConfusionMatrixDisplay.from_predictions(test_y, predicted)
        mlflow.log_figure(display.figure_, "confusion_matrix.png")
        logged = mlflow.sklearn.log_model(
            classifier,
            name="model",
            registered_model_name=MODEL,
            signature=infer_signature(train_x, predicted),
            input_example=train_x[:2],
            pip_requirements=REQUIREMENTS,
        )

    registered = mlflow.pyfunc.load_model(f"models:/{MODEL}/{logged.registered_model_version}")
    if not np.array_equal(registered.predict(test_x), predicted):
        print("The model from the registry does not predict what the trained one did.", file=sys.stderr)
        return 1
    uri = mlflow.get_tracking_uri().rstrip("/")
    print(f"run:   {uri}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}")
    print(f"model: {uri}/#/models/{MODEL}/versions/{logged.registered_model_version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
