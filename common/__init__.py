"""What surrounds eager_cvae.py and mmd_cvae.py. README.md in this folder is the map.

If this package is imported before Keras and TensorFlow, Keras uses TensorFlow, and TensorFlow logs
only crashes. It also logs a few lines when it is loaded, which the programs hide. To see its whole
log, set the environment variable TF_CPP_MIN_LOG_LEVEL.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever ~/.keras/keras.json says
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
