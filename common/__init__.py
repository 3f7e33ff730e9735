"""Support the scripts eager_cvae.py and mmd_cvae.py. README.md in this folder lists the modules.

Import this package before Keras and TensorFlow. Keras then uses TensorFlow, and TensorFlow logs
only crashes. To see its whole log, set the environment variable TF_CPP_MIN_LOG_LEVEL to 0.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # Otherwise ~/.keras/keras.json could select another
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
