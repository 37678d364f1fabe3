"""What to do about operators of files that are not supported."""

ATTENTION = "products of activations are not supported; use convolutions over time in place of attention"
RECURRENT = "give the Keras model instead: trimtab unrolls its recurrent layers"
STREAM = "give the network that reads a whole window at once"

CURES = {
    "BATCH_MATMUL": ATTENTION,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": RECURRENT,
    "UNIDIRECTIONAL_SEQUENCE_RNN": RECURRENT,
    "BIDIRECTIONAL_SEQUENCE_LSTM": RECURRENT,
    "BIDIRECTIONAL_SEQUENCE_RNN": RECURRENT,
    "LSTM": RECURRENT,
    "RNN": RECURRENT,
    "WHILE": RECURRENT,
    "SVDF": STREAM,
    "CALL_ONCE": STREAM,
    "VAR_HANDLE": STREAM,
    "READ_VARIABLE": STREAM,
    "ASSIGN_VARIABLE": STREAM,
    "RESIZE_BILINEAR": "enlarge to the nearest neighbour by whole factors",
    "SELECT": "use activations that are one operator, as relu, gelu or elu",
    "SELECT_V2": "use activations that are one operator, as relu, gelu or elu",
    "EXP": "use activations that are one operator, as relu, gelu or elu",
    "LOG": "use activations that are one operator, as relu, gelu or elu",
    "RSQRT": "use BatchNormalization in place of LayerNormalization",
    "SQUARED_DIFFERENCE": "use BatchNormalization in place of LayerNormalization",
    "GATHER": "embeddings are not supported; give numbers in place of indices",
    "EMBEDDING_LOOKUP": "embeddings are not supported; give numbers in place of indices",
    "TFLite_Detection_PostProcess": "cut the model before its boxes are chosen",
}
