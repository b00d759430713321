import { bfloat16ToNumber, float16ToNumber } from './float16.js';
import { typedArrayOf, type Tensor } from './tensor.js';

/**
 * All elements as numbers, widened to float32 where the type is a float type of 32 bits or fewer and to float64 otherwise.
 * int64 beyond 2^53 loses precision; sub-byte types are unpacked, low bits first. Throws TypeError for types without numbers.
 */
export function numbersOf(tensor: Tensor): Float32Array | Float64Array {
  const array = typedArrayOf(tensor);
  switch (tensor.dtype) {
    case 'float32':
      return array as Float32Array;
    case 'float16':
      return Float32Array.from(array as Uint16Array, float16ToNumber);
    case 'bfloat16':
      return Float32Array.from(array as Uint16Array, bfloat16ToNumber);
    case 'int64':
    case 'uint64':
      return Float64Array.from(array as BigInt64Array, Number);
    case 'int4':
    case 'uint4':
      return unpack4(array as Uint8Array, tensor.dims.reduce((a, b) => a * b, 1), tensor.dtype === 'int4');
    case 'float64':
      return array as Float64Array;
    case 'uint8':
    case 'int8':
    case 'uint16':
    case 'int16':
    case 'int32':
    case 'uint32':
    case 'bool':
      return Float64Array.from(array as Int32Array);
    default:
      throw new TypeError(`elements of ${tensor.dtype} have no number form`);
  }
}

function unpack4(bytes: Uint8Array, count: number, signed: boolean): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => {
    const nibble = ((bytes[i >> 1] ?? 0) >> (4 * (i & 1))) & 15;
    return signed && nibble > 7 ? nibble - 16 : nibble;
  });
}
