import type { Int64 } from './messages.js';

/** The value as a number where it is exact, otherwise as a bigint. */
export function fromInt64(value: Int64): number | bigint {
  const number = int64ToNumber(value);
  return Number.isSafeInteger(number) ? number : toBigInt(value);
}

/** The value as a number; beyond 2^53 the nearest one. */
export function int64ToNumber(value: Int64 | undefined): number {
  if (typeof value !== 'object') return value ?? 0;
  return (value.unsigned ? value.high >>> 0 : value.high) * 2 ** 32 + (value.low >>> 0);
}

/** The value as a bigint. */
export function toBigInt(value: Int64): bigint {
  if (typeof value === 'number') return BigInt(value);
  const high = BigInt(value.unsigned ? value.high >>> 0 : value.high);
  return (high << 32n) | BigInt(value.low >>> 0);
}

/** The value in the form that the wire library writes. Throws RangeError where it is no integer of 64 bits. */
export function toInt64(value: number | bigint): Int64 {
  if (Number.isSafeInteger(value)) return value as number;
  const big = BigInt(value);
  if (BigInt.asIntN(64, big) !== big) throw new RangeError(`${big} does not fit in 64 bits`);
  return { low: Number(BigInt.asIntN(32, big)), high: Number(big >> 32n), unsigned: false };
}
