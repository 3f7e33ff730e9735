"""What eager_cvae.py and mmd_cvae.py have in common; README.md beside this file is the map.

Imported before Keras and TensorFlow, this package has Keras run on TensorFlow, and TensorFlow log
nothing short of a crash (but for its first lines, which the programs hide). A user who sets
TF_CPP_MIN_LOG_LEVEL gets TensorFlow's own log instead.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever ~/.keras/keras.json says
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
