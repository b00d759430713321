import { productMemory64 } from './product-kernel.js';

/** Share of the mean diagonal that is added to it: the products of few samples have no factor otherwise. */
const DAMPING = 0.01;
const MAX_DAMPING = 10;
/** Rows and columns of a tile. */
const TILE = 64;

/**
 * How errors of rounding are made up for. With products = M Mᵀ, M upper triangular, and so the error of a product Σ over k of (M_kk · (e_k + Σ over i < k of
 * share_ki · e_i))², row k of the result, [size, size], has share_ki = M_ik / M_kk for i < k and zeros elsewhere. `products` is symmetric, of
 * `size` rows; a share of its mean diagonal is added to the diagonal. Products that are not finite, or all zero, give zeros: each element is
 * then rounded for itself.
 * Source: J. Chee et al., "QuIP: 2-Bit Quantization of Large Language Models With Guarantees" (2023), theorem 6, for why this is GPTQ.
 */
export function errorShares(products: Float64Array, size: number, target: Float32Array): void {
  let mean = 0;
  for (let i = 0; i < size; i++) mean += products[i * size + i]! / size;
  for (let damping = DAMPING; damping <= MAX_DAMPING; damping *= 10) {
    const factor = upperFactor(products, size, damping * mean);
    if (!factor) continue;
    for (let k = 0; k < size; k++) {
      const diagonal = factor[k * size + k]!;
      for (let i = 0; i < k; i++) target[k * size + i] = factor[i * size + k]! / diagonal;
    }
    return;
  }
  target.fill(0);
}

/** M, upper triangular by rows, with M Mᵀ = products + damping on the diagonal; undefined where there is none. What is below its diagonal means nothing. */
function upperFactor(products: Float64Array, size: number, damping: number): Float64Array | undefined {
  const factor = products.slice();
  for (let i = 0; i < size; i++) factor[i * size + i]! += damping;
  const tiles = Math.ceil(size / TILE);
  const { values, subtract } = productMemory64(TILE * TILE + 2 * TILE * size);
  const [tile, rows, panels] = [0, TILE * TILE, TILE * TILE + TILE * size];
  for (let right = tiles - 1; right >= 0; right--) {
    const [left, end] = [right * TILE, Math.min(size, (right + 1) * TILE)];
    const depth = size - end;
    // The columns of this tile, by rows of the factor: what is right of the tile.
    for (let j = left; depth > 0 && j < left + TILE; j++) {
      const to = panels + ((j - left) >> 2) * 4 * depth + ((j - left) & 3);
      for (let k = 0; k < depth; k++) values[to + 4 * k] = j < end ? factor[j * size + end + k]! : 0;
    }
    for (let top = right * TILE; top >= 0; top -= TILE) {
      const bottom = Math.min(end, top + TILE);
      for (let i = top; i < bottom; i++) values.set(factor.subarray(i * size + left, i * size + end), tile + (i - top) * TILE);
      if (depth > 0) {
        for (let i = top; i < bottom; i++) values.set(factor.subarray(i * size + end, i * size + size), rows + (i - top) * depth);
        subtract({ a: { at: rows, stride: depth }, b: { at: panels, stride: 4 * depth }, c: { at: tile, stride: TILE }, m: Math.ceil((bottom - top) / 4) * 4, k: depth, n: TILE });
      }
      for (let i = top; i < bottom; i++) factor.set(values.subarray(tile + (i - top) * TILE, tile + (i - top) * TILE + end - left), i * size + left);
      if (top === left) {
        if (!factorTile(factor, size, left, end)) return undefined;
      } else {
        for (let i = top; i < bottom; i++) solveRow(factor, size, i, left, end);
      }
    }
  }
  return factor;
}

/** The factor of a tile on the diagonal, in place. */
function factorTile(factor: Float64Array, size: number, first: number, end: number): boolean {
  for (let j = end - 1; j >= first; j--) {
    for (let i = j; i >= first; i--) {
      let sum = factor[i * size + j]!;
      for (let k = j + 1; k < end; k++) sum -= factor[i * size + k]! * factor[j * size + k]!;
      if (i < j) factor[i * size + j] = sum / factor[j * size + j]!;
      else if (!(sum > 0 && Number.isFinite(sum))) return false;
      else factor[i * size + j] = Math.sqrt(sum);
    }
  }
  return true;
}

/** Row `i` of a tile left of nothing that is unknown: x with x Tᵀ = what stands there, T the tile on the diagonal. */
function solveRow(factor: Float64Array, size: number, i: number, first: number, end: number): void {
  for (let j = end - 1; j >= first; j--) {
    let sum = factor[i * size + j]!;
    for (let k = j + 1; k < end; k++) sum -= factor[i * size + k]! * factor[j * size + k]!;
    factor[i * size + j] = sum / factor[j * size + j]!;
  }
}
