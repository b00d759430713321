"""Rounds the weights of a model's products to 4 bits with the reference tool.

usage: weight_only.py MODEL OUT [--symmetric]

Needs onnxruntime, onnx and onnx_ir. MatMulNBits with blocks of 32, accuracy level 4, round to nearest. Weights go to a side file.
"""
import sys

from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer


def main():
    model, out, *flags = sys.argv[1:]
    config = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric='--symmetric' in flags, accuracy_level=4)
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(out, True)


if __name__ == '__main__':
    main()
