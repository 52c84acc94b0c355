"""The camera process: captures, encodes, spools and sends. ONNX Runtime, never torch."""
