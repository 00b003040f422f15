"""PyTorch to ONNX: the two graphs of a bundle, the checks that they are right, and writing it."""
