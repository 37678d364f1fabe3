"""Plain kernels of what suits a network to a task with few samples: Fisher information, prototypes (TinyTrain)."""
